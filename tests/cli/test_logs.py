"""`logs`: of which pods, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli import sample
from tests.cli.cluster import PODS, FakeCluster, kubectl_hardening

RUNNING = {"phase": "Running", "containerStatuses": [{"name": "stage", "state": {"running": {}}}]}
WAITING = {
    "phase": "Pending",
    "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}],
}
UNSCHEDULED = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: 1 Insufficient"}
    ],
}


@pytest.fixture
def put_pod(cluster: FakeCluster) -> Any:
    def put(stage: str, shard: int = 0, attempt: int = 1, status: Any = RUNNING, log: str | None = None) -> str:
        name = f"small-r1-{stage}-a{attempt}-{shard}"
        labels = {
            "hardening.dev/run": "small",
            "hardening.dev/round": "1",
            "hardening.dev/stage": stage,
            "hardening.dev/attempt": str(attempt),
            "batch.kubernetes.io/job-completion-index": str(shard),
        }
        metadata = {"name": name, "namespace": "safety", "labels": labels}
        cluster.put(PODS, {"metadata": {**metadata, "creationTimestamp": "2026-11-24T10:00:00Z"}, "status": status})
        cluster.api.logs[name] = f"{name} speaks\n" if log is None else log
        return name

    return put


@pytest.fixture
def training(put_run: Any, put_pod: Any) -> None:
    """A run whose two trainings go on, one of them on its second attempt; Attack has ended."""
    stages = [
        sample.stage("Attack"),
        sample.stage("TrainAttacker", "Running"),
        sample.stage("TrainDefender", "Running", attempts=2),
    ]
    put_run(status=sample.status(rounds=[sample.first_round(stages=stages)]))
    for shard in (1, 0):
        put_pod("attack", shard)
    put_pod("train-attacker")
    put_pod("train-defender", attempt=1)
    put_pod("train-defender", attempt=2)


def lines(*arguments: str) -> list[str]:
    shown = kubectl_hardening("logs", "small", *arguments)
    assert shown.exit_code == 0, shown.output
    return shown.stdout.splitlines()


def test_the_running_stages_newest_attempts_are_shown(cluster: FakeCluster, training: None) -> None:
    assert lines() == [
        "r1-train-attacker/0 | small-r1-train-attacker-a1-0 speaks",
        "r1-train-defender/0 | small-r1-train-defender-a2-0 speaks",
    ]


@pytest.mark.parametrize("name", ["TrainDefender", "train-defender", "traindefender"])
def test_a_stage_is_named_either_way(cluster: FakeCluster, training: None, name: str) -> None:
    assert lines("--stage", name) == ["small-r1-train-defender-a2-0 speaks"]


def test_the_attempt_before_is_shown_on_demand(cluster: FakeCluster, training: None) -> None:
    assert lines("--stage", "TrainDefender", "--previous") == ["small-r1-train-defender-a1-0 speaks"]
    shown = kubectl_hardening("logs", "small", "--stage", "TrainAttacker", "-p")
    assert (shown.exit_code, shown.stderr) == (2, "round 1 TrainAttacker: no pod of an earlier attempt is left\n")


def test_shards_come_in_order_and_one_can_be_picked(cluster: FakeCluster, training: None) -> None:
    assert [line.split()[0] for line in lines("--stage", "Attack")] == ["r1-attack/0", "r1-attack/1"]
    assert lines("--stage", "Attack", "--shard", "1") == ["small-r1-attack-a1-1 speaks"]


def test_a_failed_stage_is_shown_when_none_runs(cluster: FakeCluster, put_run: Any, put_pod: Any) -> None:
    stages = [sample.stage("Attack", "Failed", reason="BadData"), sample.stage("Score")]
    put_run(status=sample.status(phase="Failed", rounds=[sample.first_round(stages=stages)]))
    put_pod("attack", status={"phase": "Failed"}, log="one\ntwo")
    assert lines() == ["one", "two"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (WAITING, "(waits: ImagePullBackOff: no such image)"),
        (UNSCHEDULED, "(waits: Unschedulable: 0/1 nodes: 1 Insufficient)"),
        ({}, "(waits for a node to take it)"),
    ],
)
def test_a_pod_that_has_not_started_says_what_it_waits_for(
    cluster: FakeCluster, put_run: Any, put_pod: Any, status: Any, words: str
) -> None:
    put_run(status=sample.status(rounds=[sample.first_round(stages=[sample.stage("Attack", "Running")])]))
    put_pod("attack", status=status)
    assert lines() == [words]


def test_logs_are_followed_until_all_pods_have_ended(cluster: FakeCluster, training: None) -> None:
    assert sorted(lines("-f")) == sorted(lines())


def test_a_stage_without_pods_or_that_was_never_started_says_so(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status(rounds=[]))
    shown = kubectl_hardening("logs", "small")
    assert (shown.exit_code, shown.stderr.split(": ")[:2]) == (2, ["base Evaluate", "no pod is left"])
    shown = kubectl_hardening("logs", "small", "--round", "2", "--stage", "Score")
    assert (shown.exit_code, shown.stderr) == (2, "small: no such stage was started yet (round 2 Score)\n")
    shown = kubectl_hardening("logs", "small", "--stage", "Dance")
    assert shown.stderr.startswith("--stage: got Dance: expected one of Attack, Score, ")
