"""What breaks while a run goes on: each time it ends in the right state, and no finished stage runs twice."""

from __future__ import annotations

import json
import random
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster, Release
from tests.cluster.support.clients import Kubectl
from tests.cluster.support.operators import leader_since, remove
from tests.cluster.support.pods import kill
from tests.cluster.support.runs import (
    at_rest,
    condition,
    finished,
    give_inputs,
    pod_overrides,
    stages_of,
    tiny_run,
    working,
)
from tools.cluster import cluster as bringup

KILLS = 20


def started_jobs(cluster: Cluster, space: Kubectl) -> list[str]:
    """Names of the Jobs that were made in the namespace, in order, by the API server's own record."""
    log = cluster.require_own().audit_log
    made = []
    for line in log.read_text().splitlines():
        if space.namespace not in line:
            continue
        entry = json.loads(line)
        what = entry.get("objectRef", {})
        if what.get("resource") == "jobs" and what.get("namespace") == space.namespace:
            created = entry.get("responseStatus", {}).get("code") == 201
            if created and not what.get("subresource"):
                made.append(what["name"])
    return made


def test_an_operator_killed_twenty_times_loses_nothing_and_starts_nothing_twice(
    space: Kubectl, operator: Release, cluster: Cluster
) -> None:
    settings, system = cluster.require_own(), operator.kubectl
    chance = random.Random(0)
    promotion = {
        "gates": {"winRate": {"statistic": "All", "min": 0, "bound": "Value"}, "minSamples": 1},
        "stop": "Best",
    }
    space.apply(tiny_run("survivor", rounds=5, promotion=promotion, backoffLimit=0))
    killed = datetime.now(UTC)
    for number in range(KILLS):
        leader = leader_since(system, killed)
        wait_until_rest(space, "survivor", chance.uniform(0.2, 6))
        assert not at_rest(space.get("hrun", "survivor")), f"the run ended before kill {number + 1}"
        killed = kill(settings, system, leader)
        if number % 2:  # else its container starts again, and finds its own Lease
            remove(system, leader)
    run = finished(space, "survivor", 8)
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]
    assert {stage["state"] for stage in stages_of(run)} == {"Succeeded"}
    assert {stage["attempts"] for stage in stages_of(run)} == {1}
    made = started_jobs(cluster, space)
    assert sorted(made) == sorted(set(made)), "a Job was made twice"
    assert len(made) == len(stages_of(run))


def wait_until_rest(space: Kubectl, name: str, seconds: float) -> None:
    """Until the run is at rest, or the time is over."""
    end = time.monotonic() + seconds
    try:
        space.watch(f"hrun/{name}", lambda run: at_rest(run) or time.monotonic() > end, "rests", seconds)
    except AssertionError:
        return


def test_a_standby_takes_over_within_twenty_seconds(operator: Release, cluster: Cluster) -> None:
    system = operator.kubectl
    system("rollout", "status", "deployment", "--timeout=180s", seconds=200)
    leader = leader_since(system, datetime.now(UTC))
    killed = kill(cluster.require_own(), system, leader)
    remove(system, leader)
    assert leader_since(system, killed) != leader
    assert (datetime.now(UTC) - killed).total_seconds() < 20


def test_deleted_stage_pods_are_replaced_and_do_not_count(space: Kubectl) -> None:
    space.apply(tiny_run("robbed", backoffLimit=0))
    for stage in ("evaluate", "train-defender"):
        space("delete", "pods", "-l", working(space, "robbed", stage), "--wait=false")
    run = finished(space, "robbed")
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]
    assert {counted(stage) for stage in stages_of(run)} == {1}


def test_a_restarted_api_server_and_a_drained_node_are_survived(
    space: Kubectl, cluster: Cluster, admin: Kubectl
) -> None:
    settings = cluster.require_own()
    space.apply(tiny_run("drained", backoffLimit=0))
    working(space, "drained", "attack")
    bringup.restart(settings, "kube-apiserver")
    working(space, "drained", "train-defender")
    node = admin.items("nodes")[0]["metadata"]["name"]
    selector = "--pod-selector=hardening.dev/run=drained"
    try:
        admin("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", selector, "--timeout=200s", seconds=230)
    finally:
        admin("uncordon", node)
    run = finished(space, "drained")
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]
    assert {counted(stage) for stage in stages_of(run)} == {1}


def counted(stage: dict[str, Any]) -> int:
    """The attempts of a stage that count: a disrupted one is no fault of its own."""
    return int(stage["attempts"]) - int(stage.get("disruptions", 0))


DOOMED = {
    "no-image": (
        "ImagePullFailed",
        r"no-such-image",
        {"stages": {"all": pod_overrides(image="localhost/no-such-image:1")}},
    ),
    "no-gpu": (
        "Unschedulable",
        r"Insufficient nvidia\.com/gpu",
        {"stages": {"all": pod_overrides(resources={"limits": {"nvidia.com/gpu": 64}})}},
    ),
    "no-memory": (
        "OutOfMemory",
        r"raise resources\.limits\.memory of Evaluate",
        {"stages": {"all": pod_overrides(resources={"limits": {"memory": "120Mi"}})}},
    ),
    "no-data": ("DataMissing", r"missing\.jsonl", {}),
    "torn-data": ("BadData", r"torn\.jsonl: .*line 2", {}),
    "no-room": (
        "WorkspaceFull",
        r"no room to write: make room",
        {
            "workspace": {
                "persistentVolumeClaim": {"size": "128Ki", "storageClassName": "sized", "accessMode": "ReadWriteMany"}
            }
        },
    ),
}
"""Run -> the reason it fails with, words of the message, its spec. All in one namespace, and at once."""
DATA_OF = {"no-data": "missing.jsonl", "torn-data": "torn.jsonl"}


@pytest.fixture(scope="module")
def doomed(shared: Kubectl, tiny: Path, operator: Release) -> Kubectl:
    give_inputs(shared, tiny)
    for name, (_, _, spec) in DOOMED.items():
        document = tiny_run(name, backoffLimit=0, **spec)
        if name in DATA_OF:
            document["spec"]["data"]["preferences"]["uri"] = f"file:///inputs/data/{DATA_OF[name]}"
        shared.apply(document)
    return shared


@pytest.mark.parametrize("name", DOOMED)
def test_what_cannot_be_had_fails_the_run_with_its_reason_and_what_to_do(doomed: Kubectl, name: str) -> None:
    reason, words, _ = DOOMED[name]
    run = finished(doomed, name, 10)
    failed = condition(run, "Failed")
    assert (run["status"]["phase"], failed["reason"]) == ("Failed", reason), failed["message"]
    assert re.search(words, failed["message"])
    assert len(failed["message"]) > 40
    assert condition(run, "Promoted")["status"] == "False"
    assert max(stage["attempts"] for stage in stages_of(run)) == 1
    unfinished = [job for job in doomed.items("jobs", f"hardening.dev/run={name}") if not ended(job)]
    for job in unfinished:
        doomed.wait(f"job/{job['metadata']['name']}", "delete", 120)


def ended(job: dict[str, Any]) -> bool:
    return any(entry["type"] in ("Complete", "Failed") for entry in job["status"].get("conditions", []))
