"""What the operator adds to a stage, over the same Job without an operator: seconds and API writes.

    python -m benchmarks.cluster_stages [--runs 3] [--simulated]

On the cluster of `make cluster-up`, with the operator from its chart and the project's images. In turn: a tiny run of
one round whose seven stages follow one another, then its seven Jobs once more by hand: the same Job under another name,
with the same pod, config and workspace, from which the stage's output was removed. `--simulated` does the same on a
control plane of its own (`cluster_control_plane`) with kwok's pods, which take 2.5 s each: no pod's own time blurs the
difference.

A stage takes from the moment the one before it is recorded as Succeeded in the run's status (the first: from the
`apply` of the run) until it is recorded so itself. A bare Job takes from its creation to its Complete condition. All
moments are those at which one watch on the API server reports them. What the operator itself takes (`waits`: the
stage's time less that of its own Job) does not depend on how long the pods happened to take. Writes are the operator's
requests in the audit log, its Lease left out.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from urllib3.exceptions import ProtocolError

from benchmarks.cluster_control_plane import control_plane, install, operator, simulated_nodes
from benchmarks.cluster_harness import (
    AuditLog,
    Goal,
    Request,
    installed,
    kubectl_of,
    namespace,
    running_cluster,
    table,
    write,
)
from benchmarks.cluster_simulated import STAGES, kwok_stages, simulated_run
from hardening_api.stages import STAGES as STAGE_TABLE
from hardening_operator.planner.types import StageKey
from hardening_operator.resources import RUN_LABEL, stage_job_name
from tests.cluster.support.clients import Kubectl
from tests.cluster.support.runs import at_rest, condition, give_inputs, tiny_run
from tests.support.stage_configs import terse_model
from tests.support.tiny_model import build_tiny_model
from tools.cluster import images
from tools.cluster.settings import Settings

SECONDS, WRITES = 1.0, 10
PATIENCE = 300.0
CONTROLLER_LABELS = ("controller-uid", "job-name")
NOT_BARE = (RUN_LABEL, *CONTROLLER_LABELS, *(f"batch.kubernetes.io/{name}" for name in CONTROLLER_LABELS))
"""Labels of a pod template that the operator watches by, or that the Job controller added."""
STARTS, WORKS = (500, 500), (2_000, 2_000)
"""Milliseconds until a simulated pod runs, and that it runs."""


class Watcher:
    """Follows the Jobs and runs of a namespace, and remembers when each thing was seen first."""

    def __init__(self, settings: Settings, name: str) -> None:
        load: Any = config.new_client_from_config
        self._api: Any = client.CustomObjectsApi(load(str(settings.kubeconfig)))
        self._namespace = name
        self._seen: dict[tuple[str, str], float] = {}
        self._changed = threading.Condition()
        for kind in (("batch", "v1", "jobs"), ("hardening.dev", "v1alpha1", "hardeningruns")):
            threading.Thread(target=self._follow, args=kind, daemon=True).start()

    def moment(self, what: str, name: str, seconds: float = PATIENCE) -> float:
        """Return when it was seen, in seconds since the epoch; wait for it if need be."""
        with self._changed:
            if not self._changed.wait_for(lambda: (what, name) in self._seen, seconds):
                raise SystemExit(f"{name}: not {what} within {seconds:.0f} s")
            return self._seen[what, name]

    def _follow(self, group: str, version: str, plural: str) -> None:
        listing = self._api.list_namespaced_custom_object
        stream: Any = watch.Watch().stream  # type: ignore[no-untyped-call]
        with suppress(ProtocolError):  # at the end the API server goes first
            for event in stream(listing, group, version, self._namespace, plural):
                now = time.time()
                with self._changed:
                    for moment in moments(event["object"]):
                        self._seen.setdefault(moment, now)
                    self._changed.notify_all()


def moments(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the changes that a Job or a run reports."""
    name, status = document["metadata"]["name"], document.get("status") or {}
    if document["kind"] == "Job":
        yield "created", name
        if any((each["type"], each["status"]) == ("Complete", "True") for each in status.get("conditions", [])):
            yield "complete", name
        return
    if at_rest(document):
        yield "at rest", name
    for entry in (status.get("base"), *status.get("rounds", [])):
        for stage in (entry or {}).get("stages", []):
            if stage["state"] == "Succeeded":
                yield "recorded", stage_job_name(name, StageKey(entry["round"], stage["stage"]), 1)


@dataclass(frozen=True)
class Figures:
    """One stage of one run."""

    stage: str
    operator: float
    """Seconds from the record of the stage before to its own."""
    own_job: float
    """Seconds from creation to completion of the operator's Job."""
    bare_job: float
    writes: int

    @property
    def waits(self) -> float:
        """What the operator itself took."""
        return self.operator - self.own_job


@dataclass(frozen=True)
class Scene:
    """A namespace to measure in."""

    settings: Settings
    space: Kubectl
    user: str
    """Who the operator is to the API server."""
    run: Callable[[str], dict[str, Any]]
    """A run of a name that ends Promoted."""
    real_pods: bool = True


@contextmanager
def with_real_pods() -> Iterator[Scene]:
    """The cluster of `make cluster-up`, with the operator from its chart and the inputs of tiny runs."""
    settings = running_cluster()
    admin = kubectl_of(settings)
    trainer = images.build(settings, "trainer")
    images.load(settings, trainer)
    with installed(settings, admin, trainer) as user, namespace(admin, "stages") as space:
        with tempfile.TemporaryDirectory() as folder:
            build_tiny_model(Path(folder) / "plain")
            give_inputs(space, terse_model(Path(folder) / "plain", Path(folder) / "model"))
        yield Scene(settings, space, user, tiny_run)


@contextmanager
def with_simulated_pods() -> Iterator[Scene]:
    """A control plane of its own, whose pods take a fixed time."""
    with control_plane() as settings, simulated_nodes(settings, 1, kwok_stages(STARTS, WORKS)):
        install(settings)
        with namespace(kubectl_of(settings), "stages") as space, operator(settings) as process:
            yield Scene(settings, space, process.user, lambda name: simulated_run(name, 0.5), real_pods=False)


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--simulated", action="store_true", help="pods that take a fixed time and do nothing")
    given = parser.parse_args()
    with with_simulated_pods() if given.simulated else with_real_pods() as scene:
        watcher = Watcher(scene.settings, scene.space.namespace)
        audit = AuditLog(scene.settings.audit_log, scene.user)
        measured, requests = [], Counter[str]()
        for number in range(1, given.runs + 1):
            figures, made = measured_run(f"cost-{number}", scene, watcher, audit)
            measured.append(figures)
            requests += made
    tell(f"cluster_stages{'_simulated' if given.simulated else ''}", measured, requests)


def measured_run(name: str, scene: Scene, watcher: Watcher, audit: AuditLog) -> tuple[list[Figures], Counter[str]]:
    """One run, then its Jobs by hand; returns its figures and the operator's requests by verb and resource."""
    space, begun = scene.space, time.time()
    space.apply(in_sequence(scene.run(name)))
    watcher.moment("at rest", name, 7 * PATIENCE)
    run = space.get("hardeningrun", name)
    if run["status"]["phase"] != "Promoted":
        raise SystemExit(f"{name}: {run['status']['phase']}: {condition(run, 'Failed')['message']}")
    bare = [bare_seconds(name, key, scene, watcher) for key in STAGES]
    # Asked for last: what is written after the last record, the events, belongs to the run too.
    requests = [each for each in audit.requests() if each.time >= begun and each.namespace == space.namespace]
    jobs = [stage_job_name(name, key, 1) for key in STAGES]
    records = [begun, *(watcher.moment("recorded", job) for job in jobs)]
    figures = [
        Figures(
            stage=str(key),
            operator=ended - started,
            own_job=watcher.moment("complete", job) - watcher.moment("created", job),
            bare_job=seconds,
            writes=writes_between(requests, started, ended if key is not STAGES[-1] else float("inf")),
        )
        for key, job, seconds, started, ended in zip(STAGES, jobs, bare, records, records[1:], strict=False)
    ]
    for each in figures:
        print(
            f"{name} {each.stage}: {each.operator:.2f} s, bare {each.bare_job:.2f} s, {each.writes} writes", flush=True
        )
    return figures, Counter(f"{each.verb} {each.resource}" for each in requests)


def in_sequence(run: dict[str, Any]) -> dict[str, Any]:
    """The run, its stages one after the other."""
    training = run["spec"].get("training", {}) | {"order": "AttackerFirst"}
    return run | {"spec": run["spec"] | {"training": training}}


def writes_between(requests: Sequence[Request], start: float, end: float) -> int:
    """How many writes came in that time."""
    return sum(each.writes and start <= each.time < end for each in requests)


def bare_seconds(run: str, key: StageKey, scene: Scene, watcher: Watcher) -> float:
    """Seconds from creation to completion of a stage's Job without an operator."""
    job = bare_job(scene.space.get("job", stage_job_name(run, key, 1)))
    if scene.real_pods:
        forget_output(run, key, scene.space)
    scene.space("create", "-f", "-", given=json.dumps(job))
    name = job["metadata"]["name"]
    return watcher.moment("complete", name) - watcher.moment("created", name)


def forget_output(run: str, key: StageKey, space: Kubectl) -> None:
    """Remove what a stage left in the workspace, which is a folder of this machine; else it would do nothing again."""
    volume = space.get("pvc", f"{run}-workspace")["spec"]["volumeName"]
    workspace = Path(space.get("pv", volume)["spec"]["local"]["path"])
    shutil.rmtree(workspace / "rounds" / str(key.round) / STAGE_TABLE[key.stage].folder)
    if key.stage == "Promote":
        shutil.rmtree(workspace / "promoted")


def bare_job(job: dict[str, Any]) -> dict[str, Any]:
    """The same Job without an owner: under another name, without owner, and unseen by the operator."""
    spec = copy.deepcopy(job["spec"])
    del spec["selector"]
    labels = spec["template"]["metadata"]["labels"]
    spec["template"]["metadata"]["labels"] = {name: labels[name] for name in labels if name not in NOT_BARE}
    metadata = {"name": f"bare-{job['metadata']['name']}"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def tell(name: str, measured: Sequence[Sequence[Figures]], requests: Counter[str]) -> None:
    """Print the figures by stage and write them."""
    rows = [by_stage(stage) for stage in zip(*measured, strict=True)]
    print()
    table([list(rows[0]), *(list(row.values()) for row in rows)])
    every = [each for run in measured for each in run]
    over = [each.operator - each.bare_job for each in every]
    goals = [
        Goal("seconds over a bare Job, median of all", statistics.median(over), SECONDS),
        Goal("seconds over a bare Job, the worst stage's median", max(row["over bare"] for row in rows), SECONDS),
        Goal("seconds the operator itself waits, most", max(each.waits for each in every), SECONDS),
        Goal("API writes a stage, most", max(each.writes for each in every), WRITES),
    ]
    counted = {what: round(count / len(measured), 2) for what, count in sorted(requests.items())}
    write(name, {"runs": len(measured), "stages": rows, "requests_a_run": counted}, goals)


def by_stage(figures: Sequence[Figures]) -> dict[str, Any]:
    """The medians of a stage over all runs, and the most."""
    return {
        "stage": figures[0].stage,
        "with operator": statistics.median(each.operator for each in figures),
        "own Job": statistics.median(each.own_job for each in figures),
        "bare Job": statistics.median(each.bare_job for each in figures),
        "over bare": statistics.median(each.operator - each.bare_job for each in figures),
        "operator waits": statistics.median(each.waits for each in figures),
        "waits at most": max(each.waits for each in figures),
        "writes at most": max(each.writes for each in figures),
    }


if __name__ == "__main__":
    main()
