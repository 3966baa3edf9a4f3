"""A Job that somebody deletes: its attempt counts, its pods end first, and no two pods ever work in one folder."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from hardening_operator.controller.runtime.api import KubernetesApi
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet
from tests.operator.controller.operator_in_hand import (
    NIGHTLY,
    Clock,
    OperatorInHand,
    condition,
    edit,
    status_of,
    submit,
)
from tests.operator.controller.test_life_of_a_monitor import KIND, NOON, reach
from tests.operator.controller.test_life_of_a_monitor import submit as submit_monitor
from tests.operator.controller.test_life_of_a_run import BASE
from tests.operator.monitor.world import due, result, sums

NEXT = f"{BASE}-a2"


def told(server: ApiServer, reason: str) -> list[str]:
    return [event["message"] for event in server.objects_of("events") if event["reason"] == reason]


def base(server: ApiServer) -> dict[str, Any]:
    stage: dict[str, Any] = status_of(server)["base"]["stages"][0]
    return stage


async def begin(server: ApiServer, operator: OperatorInHand, kubelet: Kubelet) -> str:
    """Have the base's evaluation work; return its pod."""
    await submit(server, backoffLimit=0)
    await operator.settle()
    pod = await kubelet.pod(BASE)
    await operator.settle()
    return pod


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("orphan", [False, True])
async def test_the_next_attempt_waits_for_the_pods_of_a_deleted_job_and_the_deletion_counts_as_a_disruption(
    server: ApiServer,
    operator: OperatorInHand,
    api: KubernetesApi,
    kubelet: Kubelet,
    clock: Clock,
    *,
    remembers: bool,
    orphan: bool,
) -> None:
    pod = await begin(server, operator, kubelet)
    await kubelet.delete_job(BASE, orphan)
    leader = operator if remembers else OperatorInHand(server, api, clock)
    assert await leader.settle() == 2.0
    assert (server.names("jobs"), base(server)["attempts"], base(server)["disruptions"]) == ([], 2, 1)
    [words] = told(server, "StageDisrupted")
    assert "the Job of base Evaluate was deleted while it ran" in words
    for _ in range(20):
        clock.pass_seconds(2)
        await leader.settle()
    assert server.names("jobs") == []
    status, reason, message = condition(server, "Progressing")
    assert (status, reason) == ("False", "EarlierAttemptRunning")
    assert f"pod {pod}, of attempt 1, on node n1 has to end first" in message
    assert len(told(server, "StageWaiting")) == 1

    await kubelet.end_pod(pod, 75)
    await leader.settle()
    assert (server.names("jobs"), condition(server, "Progressing")[:2]) == ([NEXT], ("True", "EvaluateRunning"))


async def test_an_orphan_is_waited_for_however_long_it_works(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    pod = await begin(server, operator, kubelet)
    await kubelet.delete_job(BASE, orphan=True)
    await operator.settle()
    clock.pass_seconds(86_400)
    await operator.settle()
    assert server.names("jobs") == []
    await kubelet.end_pod(pod, 0)
    await operator.settle()
    assert server.names("jobs") == [NEXT]


@pytest.mark.parametrize("foreground", [False, True])
async def test_a_pod_on_a_lost_node_is_waited_for_five_minutes_after_it_should_have_gone(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock, foreground: bool
) -> None:
    pod = await begin(server, operator, kubelet)
    job = server.get_one("jobs", BASE)
    await kubelet.delete_job(BASE)
    if foreground:
        metadata = {**job["metadata"], "deletionTimestamp": clock.text()}
        await server.put("jobs", {**job, "metadata": metadata})
    await operator.settle()
    clock.pass_seconds(300)
    await operator.settle()
    assert NEXT not in server.names("jobs")
    clock.pass_seconds(1)
    await operator.settle()
    assert NEXT in server.names("jobs")
    assert pod in server.names("pods")


async def test_a_job_deleted_in_the_foreground_counts_at_once_and_is_followed_once_it_is_gone(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await begin(server, operator, kubelet)
    job = server.get_one("jobs", BASE)
    await server.put("jobs", {**job, "metadata": {**job["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    await operator.settle()
    assert (server.names("jobs"), base(server)["disruptions"], len(told(server, "StageDisrupted"))) == ([BASE], 1, 1)
    await kubelet.let_go()
    await operator.settle()
    assert server.names("jobs") == [NEXT]


async def test_a_result_counts_although_its_job_is_being_deleted(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await begin(server, operator, kubelet)
    await kubelet.succeed(BASE)
    job = server.get_one("jobs", BASE)
    await server.put("jobs", {**job, "metadata": {**job["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    await operator.settle()
    assert (base(server)["state"], base(server)["attempts"]) == ("Succeeded", 1)


async def test_a_deleted_job_of_which_nothing_is_left_counts_for_the_operator_that_knew_it(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server)
    await operator.settle()
    await operator.settle()
    await server.remove("jobs", BASE)
    await operator.settle()
    assert (server.names("jobs"), base(server)["attempts"], base(server)["disruptions"]) == ([NEXT], 2, 1)


async def test_a_deleted_job_that_nobody_remembers_is_made_again_under_its_number(
    server: ApiServer, operator: OperatorInHand, api: KubernetesApi, clock: Clock
) -> None:
    await submit(server)
    await operator.settle()
    await server.remove("jobs", BASE)
    await OperatorInHand(server, api, clock).settle()
    assert (server.names("jobs"), base(server)["attempts"]) == ([BASE], 1)


async def test_pods_of_an_earlier_run_of_the_same_name_are_waited_for_and_count_for_nothing(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    pod = await begin(server, operator, kubelet)
    await kubelet.delete_job(BASE, orphan=True)
    await server.remove("hardeningruns", "first")
    await submit(server)
    assert await operator.settle() == 2.0
    assert (server.names("jobs"), base(server)["attempts"]) == ([], 1)
    await kubelet.end_pod(pod, 0)
    await operator.settle()
    assert (server.names("jobs"), base(server)["attempts"]) == ([BASE], 1)


async def test_a_suspended_stage_whose_pods_outlive_its_job_is_resumed_once_they_are_gone(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    pod = await begin(server, operator, kubelet)
    await edit(server, suspend=True)
    await operator.settle()
    await kubelet.delete_job(BASE)
    await edit(server, suspend=False)
    await operator.settle()
    assert server.names("jobs") == []
    await server.remove("pods", pod)
    await operator.settle()
    assert (server.names("jobs"), base(server)["attempts"]) == ([BASE], 1)


async def test_a_deleted_check_is_followed_by_its_next_attempt_once_its_pods_are_gone(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    clock.now = NOON
    await submit_monitor(server)
    await reach(operator, 1)
    await reach(operator, 2)
    pod = await kubelet.pod(due(2))
    await operator.settle(NIGHTLY)
    await kubelet.delete_job(due(2))
    assert await operator.settle(NIGHTLY) == 2.0
    assert (server.names("jobs"), len(told(server, "CheckDisrupted"))) == ([], 1)
    await server.remove("pods", pod)
    await operator.settle(NIGHTLY)
    assert server.names("jobs") == [f"{due(2)}-a2"]
    await kubelet.finish(f"{due(2)}-a2", result(sums(20)))
    await operator.settle(NIGHTLY)
    assert status_of(server, "nightly", KIND)["history"][0]["verdict"] == "Pass"


async def test_under_forbid_no_check_starts_while_a_pod_of_another_works(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    clock.now = NOON
    await submit_monitor(server, schedule="0 * * * *", concurrencyPolicy="Forbid", activeDeadlineSeconds=5400)
    await reach(operator, 1, 12)
    await reach(operator, 2, 3)
    pod = await kubelet.pod(due(2))
    await reach(operator, 2, 5)
    assert status_of(server, "nightly", KIND)["history"][0]["reason"] == "DeadlineExceeded"
    await kubelet.delete_job(due(2))
    await operator.settle(NIGHTLY)
    assert (server.names("jobs"), status_of(server, "nightly", KIND).get("active")) == ([], None)
    await server.remove("pods", pod)
    await operator.settle(NIGHTLY)
    assert server.names("jobs") == [due(2, 5)]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_to_jobs_no_two_pods_work_in_one_folder(
    server: ApiServer, operator: OperatorInHand, api: KubernetesApi, kubelet: Kubelet, clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    await submit(server, backoffLimit=3)
    leader = operator
    for _ in range(60):
        for job in [job for job in kubelet.open_jobs() if chance.random() < 0.7]:
            if "deletionTimestamp" not in server.get_one("jobs", job)["metadata"] and not pods_of_job(server, job):
                await kubelet.pod(job)
        at_work = [pod for pod in server.objects_of("pods") if pod["status"]["phase"] == "Running"]
        folders = [pod["metadata"]["labels"]["hardening.dev/stage"] for pod in at_work]
        assert len(folders) == len(set(folders)), [pod["metadata"]["name"] for pod in at_work]
        match chance.choice(["delete", "orphan", "fail", "end", "end", "go", "suspend", "resume", "restart", "time"]):
            case "delete" | "orphan" as how if jobs := server.names("jobs"):
                await kubelet.delete_job(chance.choice(jobs), orphan=how == "orphan")
            case "fail" if jobs := kubelet.open_jobs():
                await kubelet.end_job(jobs[0], "Failed", "BackoffLimitExceeded")
            case "end" if at_work:
                await kubelet.end_pod(chance.choice(at_work)["metadata"]["name"], 75)
            case "go":
                await kubelet.let_go()
            case "suspend" | "resume" as how:
                await edit(server, suspend=how == "suspend")
            case "restart":
                leader = OperatorInHand(server, api, clock)
            case _:
                clock.now += timedelta(seconds=chance.choice([1, 20]))
        await leader.settle()


def pods_of_job(server: ApiServer, job: str) -> list[dict[str, Any]]:
    uid = server.get_one("jobs", job)["metadata"]["uid"]
    owned = [pod for pod in server.objects_of("pods") if pod["metadata"].get("ownerReferences")]
    return [pod for pod in owned if pod["metadata"]["ownerReferences"][0]["uid"] == uid]
