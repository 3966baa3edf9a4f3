"""What breaks while a run goes on: each time it ends in the right state, and no finished stage runs twice."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.bringup import cluster as bringup
from tests.cluster.conftest import Cluster, Release
from tests.cluster.support.clients import CommandError, Kubectl
from tests.cluster.support.runs import at_rest, condition, give_inputs, stage_running, stages_of, tiny_run
from tests.support.stage_configs import terse_model
from tests.support.tiny_model import build_tiny_model

KILLS = 20
OPERATOR = "app.kubernetes.io/name=hardening-operator"
MINUTES = 60


@pytest.fixture
def space(kubectl: Kubectl, tmp_path: Path, operator: Release) -> Kubectl:
    build_tiny_model(tmp_path / "plain")
    give_inputs(kubectl, terse_model(tmp_path / "plain", tmp_path / "model"))
    return kubectl


def finished(space: Kubectl, name: str, minutes: int = 15) -> dict[str, Any]:
    return space.watch(f"hardeningrun/{name}", at_rest, "came to rest", minutes * MINUTES)


def kill_operators(operator: Release) -> int:
    """Delete every operator pod without a moment's notice, as `kill -9` and a lost node do."""
    names = [pod["metadata"]["name"] for pod in operator.kubectl.items("pods", OPERATOR)]
    operator.kubectl("delete", "pod", *names, "--grace-period=0", "--force")
    return len(names)


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
    chance = random.Random(0)
    space.apply(tiny_run("survivor", backoffLimit=0))
    kills = 0
    run = space.get("hrun", "survivor")
    while not at_rest(run):
        kill_operators(operator)
        kills += 1
        wait_until(space, "survivor", chance.uniform(4, 12))
        run = space.get("hrun", "survivor")
        assert kills < 200, "the run does not get on between kills"
    while kills < KILLS:  # a run at rest must stay at rest as well
        kill_operators(operator)
        kills += 1
    operator.kubectl("rollout", "status", "deployment", "--timeout=180s", seconds=200)
    run = space.get("hrun", "survivor")
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]
    assert {stage["state"] for stage in stages_of(run)} == {"Succeeded"}
    assert {stage["attempts"] for stage in stages_of(run)} == {1}
    made = started_jobs(cluster, space)
    assert sorted(made) == sorted(set(made)), "a Job was made twice"
    assert len(made) == len(stages_of(run))


def wait_until(space: Kubectl, name: str, seconds: float) -> None:
    """Until the run is at rest, or the time is over."""
    end = time.monotonic() + seconds
    try:
        space.watch(f"hrun/{name}", lambda run: at_rest(run) or time.monotonic() > end, "rests", max(1, int(seconds)))
    except AssertionError:
        return


def test_a_standby_takes_over_within_twenty_seconds(operator: Release) -> None:
    operator.kubectl("rollout", "status", "deployment", "--timeout=180s", seconds=200)
    lease = operator.kubectl.items("leases")[0]
    name, holder = lease["metadata"]["name"], lease["spec"]["holderIdentity"]
    leader = next(
        pod["metadata"]["name"] for pod in operator.kubectl.items("pods", OPERATOR) if pod["metadata"]["name"] in holder
    )
    operator.kubectl("delete", "pod", leader, "--grace-period=0", "--force")
    killed = time.monotonic()
    operator.kubectl.watch(
        f"lease/{name}", lambda lease: lease["spec"].get("holderIdentity") not in (None, "", holder), "taken over", 30
    )
    assert time.monotonic() - killed < 20


def test_deleted_stage_pods_are_replaced_and_do_not_count(space: Kubectl) -> None:
    space.apply(tiny_run("robbed", backoffLimit=0))
    for stage in ("Evaluate", "TrainDefender"):
        space.watch("hrun/robbed", lambda run, name=stage: stage_running(run, name), f"runs {stage}", 8 * MINUTES)
        folder = {"Evaluate": "evaluate", "TrainDefender": "train-defender"}[stage]
        selector = f"hardening.dev/run=robbed,hardening.dev/stage={folder}"
        space("wait", "pods", "-l", selector, "--for=jsonpath={.status.phase}=Running", "--timeout=120s", seconds=150)
        space("delete", "pods", "-l", selector, "--wait=false")
    run = finished(space, "robbed")
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]


def test_a_restarted_api_server_and_a_drained_node_are_survived(
    space: Kubectl, cluster: Cluster, admin: Kubectl
) -> None:
    settings = cluster.require_own()
    space.apply(tiny_run("drained", backoffLimit=0))
    space.watch("hrun/drained", lambda run: stage_running(run, "Attack"), "attacks", 8 * MINUTES)
    bringup.restart(settings, "kube-apiserver")
    space.watch("hrun/drained", lambda run: stage_running(run, "TrainDefender"), "trains", 8 * MINUTES)
    node = admin.items("nodes")[0]["metadata"]["name"]
    selector = "--pod-selector=hardening.dev/run=drained"
    try:
        admin("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", selector, "--timeout=200s", seconds=230)
    finally:
        admin("uncordon", node)
    run = finished(space, "drained")
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]


def test_a_spec_cannot_change_once_started(space: Kubectl) -> None:
    space.apply(tiny_run("fixed"))
    space.watch("hrun/fixed", lambda run: bool(run.get("status", {}).get("startTime")), "started", 60)
    with pytest.raises(CommandError, match=r"spec\.rounds cannot change once the run has started"):
        space("patch", "hrun", "fixed", "--type=merge", "-p", '{"spec":{"rounds":5}}')
