"""Why an attempt failed, or never began: each way has its reason, its words, and its time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet, container, report
from tests.operator.controller.operator_in_hand import Clock, OperatorInHand, condition, status_of, submit
from tests.operator.controller.test_life_of_a_run import BASE


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """A container that a node has, and does not start."""
    return container({"state": {"waiting": {"reason": reason, "message": message}}})


async def begin(server: ApiServer, operator: OperatorInHand, **spec: Any) -> None:
    """Have the base's evaluation started."""
    await submit(server, **spec)
    await operator.settle()


@pytest.mark.parametrize(
    ("pod", "seconds", "reason", "words"),
    [
        (waiting("ErrImagePull", "no such tag"), 300, "ImagePullFailed", "no such tag: correct spec.stages (image)"),
        (waiting("ImagePullBackOff"), 300, "ImagePullFailed", "push it, or add imagePullSecrets"),
        (waiting("InvalidImageName"), 0, "ImagePullFailed", "(InvalidImageName)"),
        (waiting("CreateContainerConfigError", "secret x"), 300, "PodNotStarted", "secret x: `kubectl describe pod"),
        (waiting("ContainerCreating"), 1800, "PodNotStarted", "a Secret, ConfigMap or volume that is missing"),
    ],
)
async def test_a_pod_that_does_not_start_fails_the_run_after_its_time_and_not_before(
    server: ApiServer,
    operator: OperatorInHand,
    kubelet: Kubelet,
    clock: Clock,
    *,
    pod: dict[str, Any],
    seconds: float,
    reason: str,
    words: str,
) -> None:
    await begin(server, operator)
    given = {"type": "PodScheduled", "status": "True", "lastTransitionTime": clock.text()}
    await kubelet.pod(BASE, phase="Pending", conditions=[given], **pod)
    if seconds:
        clock.pass_seconds(seconds)
        await operator.settle()
        assert status_of(server)["phase"] == "Running"
    clock.pass_seconds(1)
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", reason)
    assert words in condition(server, "Failed")[2]
    assert "deletionTimestamp" in server.get_one("jobs", BASE)["metadata"]


NO_CLAIM = '0/1 nodes are available: persistentvolumeclaim "first-workspace" not found. preemption: 0/1 nodes.'
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            waiting("ErrImagePull", "no such tag"),
            "ImagePullFailed",
            "could not be pulled yet (ErrImagePull): no such tag",
        ),
        (waiting("ImagePullBackOff"), "ImagePullFailed", "(ImagePullBackOff)"),
        (waiting("CreateContainerConfigError", "secret x"), "PodNotStarted", "secret x: `kubectl describe pod"),
        ({"containerStatuses": [], "conditions": [UNSCHEDULABLE]}, "Unschedulable", "3 Insufficient nvidia.com/gpu"),
        (
            {"containerStatuses": [], "conditions": [UNSCHEDULABLE | {"message": NO_CLAIM}]},
            "WorkspaceLost",
            "claim first-workspace does not exist or is being deleted: restore it",
        ),
    ],
)
async def test_what_a_pod_waits_for_is_told_at_once_and_no_longer_than_it_lasts(
    server: ApiServer,
    operator: OperatorInHand,
    kubelet: Kubelet,
    clock: Clock,
    *,
    pod: dict[str, Any],
    reason: str,
    words: str,
) -> None:
    await begin(server, operator)
    given = {"type": "PodScheduled", "status": "True", "lastTransitionTime": clock.text()}
    name = await kubelet.pod(BASE, phase="Pending", **({"conditions": [given]} | pod))
    await operator.settle()
    status, told, message = condition(server, "Progressing")
    assert (status, told, status_of(server)["phase"]) == ("False", reason, "Running")
    assert message.startswith("base Evaluate: ")
    assert words in message
    events = [event["message"] for event in server.objects_of("events") if event["reason"] == "StageWaiting"]
    assert len(events) == 1
    written = server.statuses_written("first")
    clock.pass_seconds(20)
    await operator.settle()
    assert server.statuses_written("first") == written

    await server.remove("pods", name)
    await kubelet.pod(BASE)
    await operator.settle()
    assert condition(server, "Progressing")[:2] == ("True", "EvaluateRunning")


async def test_a_job_without_pods_is_told_within_ten_seconds(
    server: ApiServer, operator: OperatorInHand, clock: Clock
) -> None:
    await submit(server)
    again = await operator.settle()
    assert again is not None
    assert again <= 10
    clock.pass_seconds(again)
    await operator.settle()
    assert condition(server, "Progressing")[:2] == ("False", "PodsNotCreated")


FULL = 'jobs.batch "x" is forbidden: exceeded quota: team, requested: count/jobs.batch=1, used: 4, limited: 4'


@pytest.mark.parametrize("plural", ["jobs", "configmaps", "persistentvolumeclaims"])
async def test_a_full_quota_is_waited_for_and_told(
    server: ApiServer, operator: OperatorInHand, clock: Clock, plural: str
) -> None:
    server.refusals[plural] = (403, FULL)
    await submit(server)
    await operator.settle()
    assert condition(server, "Progressing")[:2] == ("False", "QuotaExceeded")
    assert "exceeded quota: team" in condition(server, "Progressing")[2]
    for _ in range(50):
        clock.pass_seconds(30)
        again = await operator.settle()
        assert again is not None
        assert again <= 30
    assert (status_of(server)["phase"], server.names("jobs")) == ("Running", [])
    assert status_of(server)["base"]["stages"][0]["attempts"] == 1

    server.refusals.clear()
    clock.pass_seconds(30)
    await operator.settle()
    assert server.names("jobs") == [BASE]
    assert condition(server, "Progressing")[:2] == ("True", "EvaluateRunning")


async def test_an_object_that_no_quota_could_take_fails_the_run(server: ApiServer, operator: OperatorInHand) -> None:
    server.refusals["jobs"] = (403, 'jobs.batch "x" is forbidden: failed quota: team: must specify limits.cpu')
    await submit(server)
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "CreateRejected")
    assert "must specify limits.cpu" in condition(server, "Failed")[2]


async def test_a_job_for_which_no_pod_is_made_fails_the_run_after_its_time(
    server: ApiServer, operator: OperatorInHand, clock: Clock
) -> None:
    await begin(server, operator)
    clock.pass_seconds(1801)
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "PodsNotCreated")
    assert "a ResourceQuota, Pod Security or an admission webhook" in condition(server, "Failed")[2]


@pytest.mark.parametrize(
    ("code", "why", "message", "reason", "words"),
    [
        (137, "OOMKilled", "", "OutOfMemory", "raise resources.limits.memory of Evaluate in spec.stages"),
        (1, "Error", "", "StageFailed", "ended with code 1 and no result: `kubectl logs"),
        (128, "StartError", "exec: no such file", "StageFailed", "exec: no such file: is it a trainer image?"),
        (70, "Error", report("Evaluate", "Failed", "StageFailed", "ValueError at x.py:3"), "StageFailed", "x.py:3"),
        (69, "Error", report("Evaluate", "Failed", "JudgeUnavailable", "start it"), "JudgeUnavailable", "start it"),
    ],
)
async def test_a_container_that_ends_badly_counts_with_the_reason_it_gives_or_shows(
    server: ApiServer,
    operator: OperatorInHand,
    kubelet: Kubelet,
    *,
    code: int,
    why: str,
    message: str,
    reason: str,
    words: str,
) -> None:
    await begin(server, operator, backoffLimit=0)
    await kubelet.fail(BASE, code, message, why)
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", reason)
    assert words in condition(server, "Failed")[2]


async def test_a_deadline_of_the_job_is_the_run_s(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await begin(server, operator, backoffLimit=0, activeDeadlineSeconds=3600)
    assert server.get_one("jobs", BASE)["spec"]["activeDeadlineSeconds"] == 3600
    await kubelet.pod(BASE)
    await kubelet.end_job(BASE, "Failed", "DeadlineExceeded")
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "DeadlineExceeded")


@pytest.mark.parametrize("reason", ["Evicted", "Shutdown", "NodeLost"])
async def test_a_pod_that_its_node_gave_up_does_not_count(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, reason: str
) -> None:
    await begin(server, operator, backoffLimit=0)
    await kubelet.pod(BASE, phase="Failed", reason=reason, containerStatuses=[])
    await kubelet.end_job(BASE, "Failed", "BackoffLimitExceeded")
    await operator.settle()
    stage = status_of(server)["base"]["stages"][0]
    assert (stage["state"], stage["attempts"], stage["disruptions"]) == ("Running", 2, 1)
    assert server.names("jobs") == [BASE, f"{BASE}-a2"]


async def test_of_several_shards_the_one_that_no_retry_helps_is_told(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await begin(server, operator, stages={"evaluate": {"shards": 3}})
    for index, code, reason in ((0, 69, "JudgeUnavailable"), (1, 65, "BadData"), (2, 70, "StageFailed")):
        pod = await kubelet.pod(BASE, index)
        await kubelet.end_pod(pod, code, report("Evaluate", "Failed", reason, f"{reason}: as the test wants it"))
    await kubelet.end_job(BASE, "Failed", "PodFailurePolicy")
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "BadData")


async def test_pods_that_saved_and_left_do_not_tell_why_a_job_failed(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await begin(server, operator, backoffLimit=0)
    saved = await kubelet.pod(BASE)
    await kubelet.end_pod(saved, 75, report("Evaluate", "Interrupted", "Interrupted", "saved"))
    await kubelet.fail(BASE, 65, report("Evaluate", "Failed", "BadData", "row 3 has no prompt"))
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "BadData")


async def test_a_failed_job_whose_pods_are_gone_is_lost_once_they_had_time_to_be_seen(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await begin(server, operator, backoffLimit=0)
    await kubelet.end_job(BASE, "Failed", "BackoffLimitExceeded")
    clock.pass_seconds(15)
    await operator.settle()
    assert status_of(server)["phase"] == "Running"
    clock.pass_seconds(1)
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "PodLost")
