"""Many runs at once: the operator's memory, processor time, API writes and the time of its looks, by number of runs.

    python -m benchmarks.cluster_fleet [--runs 100 300 1000] [--nodes 130]

On a control plane of its own (`cluster_control_plane`). API server, controllers, scheduler and operator are real; the
nodes and pods are kwok's: it says of each pod that it runs, and some seconds later that it succeeded, with the result
of its stage as termination message. The results are those of the planner's tests. So a stage takes seconds where a
real one takes minutes, which makes the load much heavier than that of as many real runs. A simulated pod has no address
and no metrics, so no progress is read or written.

Each run has one round and asks for a GPU a pod. Every second one has a gate that its figures do not meet: it must end
NotPromoted, the others Promoted. Each number of runs begins with an operator that was just started.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.cluster_control_plane import PARTS, Operator, control_plane, install, operator, simulated_nodes
from benchmarks.cluster_harness import (
    AuditLog,
    Goal,
    Request,
    Samples,
    kubectl_of,
    namespace,
    quantile,
    table,
    total,
    write,
)
from benchmarks.cluster_simulated import kwok_stages, simulated_run
from hardening_api.status import TERMINAL_PHASES
from tests.cluster.support.clients import Kubectl
from tools.cluster import processes
from tools.cluster.settings import Settings

RECONCILES = "hardening_reconcile_duration_seconds"
MIB = 2**20
PAUSE, PATIENCE = 10.0, 1800.0
STARTS, WORKS = (500, 2_000), (2_000, 6_000)
"""Milliseconds, at least and at most, until a simulated pod runs, and that it runs."""
STRICT = 0.99
"""A win rate that no candidate reaches."""
LIMITS = {"memory": 512.0, "reconcile": 2.0, "lists": 0, "writes": 10, "flat": 1.2}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--nodes", type=int, default=130)
    given = parser.parse_args()
    with control_plane() as settings, simulated_nodes(settings, given.nodes, kwok_stages(STARTS, WORKS)):
        install(settings)
        fleets: list[dict[str, Any]] = []
        for size in given.runs:
            with namespace(kubectl_of(settings), "fleet") as space, operator(settings) as process:
                fleets.append(fleet(settings, space, process, size))
                tell(fleets, given.nodes)


def fleet(settings: Settings, space: Kubectl, process: Operator, size: int) -> dict[str, Any]:
    """Create ``size`` runs at once and follow them to their ends."""
    audit = AuditLog(settings.audit_log, process.user)
    before, worked_before, begun = process.scrape(), processor_seconds(settings), time.time()
    create(space, size)
    created = time.time()
    peak, after = followed(process, size)
    worked = {name: used - worked_before[name] for name, used in processor_seconds(settings).items()}
    requests = [each for each in audit.requests() if each.time >= begun]
    runs = space.items("hardeningruns")
    jobs = len(space.items("jobs"))
    check(runs)
    ends = [seconds(each["status"]["completionTime"]) for each in runs]
    took = [end - seconds(each["metadata"]["creationTimestamp"]) for each, end in zip(runs, ends, strict=True)]
    return {
        "runs": size,
        "phases": dict(Counter(each["status"]["phase"] for each in runs)),
        "stages": jobs,
        "seconds": {
            "to create all": created - begun,
            "until all had ended": max(ends) - begun,
            "a run, most": max(took),
        },
        "operator": of_the_operator(before, after, peak, size),
        "requests": of_the_requests(requests, size, jobs),
        "processor_seconds": {name: round(used, 1) for name, used in worked.items()},
    }


def create(space: Kubectl, size: int) -> None:
    """Create all runs, five clients at a time."""
    documents = [simulated_run(f"run-{number:04d}", STRICT if number % 2 else 0.5) for number in range(size)]
    parts = [{"apiVersion": "v1", "kind": "List", "items": documents[start::5]} for start in range(5)]
    with ThreadPoolExecutor(5) as clients:
        for made in [clients.submit(space, "create", "-f", "-", given=json.dumps(part)) for part in parts]:
            made.result()


def followed(process: Operator, size: int) -> tuple[float, Samples]:
    """Scrape the operator, as Prometheus would, until all runs have ended; return its peak memory and last figures."""
    deadline = time.monotonic() + PATIENCE
    peak = 0.0
    while True:
        samples = process.scrape()
        peak = max(peak, total(samples, "process_resident_memory_bytes"))
        phases = Counter(dict(labels)["phase"] for name, labels in samples if name == "hardening_run_phase")
        print(f"{size} runs: {dict(phases)}, {peak / MIB:.0f} MiB", flush=True)
        if sum(phases[phase] for phase in TERMINAL_PHASES) == size:
            return peak, samples
        if time.monotonic() > deadline:
            raise SystemExit(f"{size} runs: not ended within {PATIENCE:.0f} s: {dict(phases)}")
        time.sleep(PAUSE)


def check(runs: Sequence[dict[str, Any]]) -> None:
    """Raise SystemExit unless every run has ended as it must."""
    for each in runs:
        wanted = "NotPromoted" if int(each["metadata"]["name"].rpartition("-")[2]) % 2 else "Promoted"
        if each["status"]["phase"] != wanted:
            raise SystemExit(f"{each['metadata']['name']}: got {each['status']['phase']}: expected {wanted}")


def of_the_operator(before: Samples, after: Samples, peak: float, size: int) -> dict[str, Any]:
    """What its process used."""
    used = total(after, "process_cpu_seconds_total") - total(before, "process_cpu_seconds_total")
    looks = total(after, f"{RECONCILES}_count") - total(before, f"{RECONCILES}_count")
    outcomes = Counter[str]()
    for (name, labels), value in after.items():
        if name == f"{RECONCILES}_count":
            outcomes[dict(labels)["outcome"]] += round(value)
    return {
        "peak memory MiB": peak / MIB,
        "processor seconds a run": used / size,
        "looks a run": looks / size,
        "looks by outcome": dict(outcomes),
        "seconds a look, median between": quantile(before, after, RECONCILES, 0.5),
        "seconds a look, p99 between": quantile(before, after, RECONCILES, 0.99),
    }


def of_the_requests(requests: Sequence[Request], size: int, stages: int) -> dict[str, Any]:
    """What it asked of the API server."""
    writes = [each for each in requests if each.writes]
    # Those with which its watches begin come before it has written anything.
    working = min(each.time for each in writes)
    counted = Counter(f"{each.verb} {each.resource}" for each in requests if each.resource != "leases")
    return {
        "writes a run": len(writes) / size,
        "writes a stage": len(writes) / stages,
        "refused": sum(each.code >= 400 for each in requests),
        "lists": sum(each.verb == "list" and each.time > working for each in requests),
        "by verb and resource": dict(sorted(counted.items())),
    }


def processor_seconds(settings: Settings) -> dict[str, float]:
    """What each process of the cluster has used so far."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for name in (*PARTS, "kwok", "operator"):
        fields = Path(f"/proc/{processes.running_pid(settings, name)}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / tick
    return found


def seconds(timestamp: str) -> float:
    """A time of the API as seconds since the epoch."""
    return datetime.fromisoformat(timestamp).timestamp()


def tell(fleets: Sequence[dict[str, Any]], nodes: int) -> None:
    """Print the figures by number of runs and write them."""
    heading = ["runs", *(str(each["runs"]) for each in fleets)]
    rows: list[list[Any]] = [heading]
    for section in ("seconds", "operator", "requests"):
        names = [name for name, value in fleets[0][section].items() if not isinstance(value, dict)]
        rows += [[name, *(_shown(each[section][name]) for each in fleets)] for name in names]
    print()
    table(rows)
    first, last = fleets[0], fleets[-1]
    grown = {
        "processor time a run": ("operator", "processor seconds a run"),
        "API writes a run": ("requests", "writes a run"),
    }
    goals = [
        Goal("peak memory, MiB", max(each["operator"]["peak memory MiB"] for each in fleets), LIMITS["memory"]),
        Goal(
            "seconds a look, p99, upper bound",
            max(each["operator"]["seconds a look, p99 between"][1] for each in fleets),
            LIMITS["reconcile"],
        ),
        Goal("list calls", max(each["requests"]["lists"] for each in fleets), LIMITS["lists"]),
        Goal("API writes a stage", max(each["requests"]["writes a stage"] for each in fleets), LIMITS["writes"]),
        *(
            Goal(f"{name}, {last['runs']} over {first['runs']}", last[part][field] / first[part][field], LIMITS["flat"])
            for name, (part, field) in grown.items()
        ),
    ]
    write("cluster_fleet", {"nodes": nodes, "fleets": list(fleets)}, goals)


def _shown(value: Any) -> Any:
    return f"{value[0]:g}-{value[1]:g}" if isinstance(value, tuple) else float(value)


if __name__ == "__main__":
    main()
