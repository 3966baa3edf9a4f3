"""A run's life on an emulated API server: every stage as a Job, whatever happens to the operator meanwhile."""

from __future__ import annotations

import pytest

from hardening_operator.controller.runtime.api import ApiError, KubernetesApi
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet, report
from tests.operator.controller.operator_in_hand import Clock, OperatorInHand, condition, edit, status_of, submit
from tests.operator.world import BAD, digest_for, promotion

STAGES = [
    "first-r0-evaluate",
    "first-r1-attack",
    "first-r1-score",
    "first-r1-train-attacker",
    "first-r1-train-defender",
    "first-r1-evaluate",
    "first-r1-promote",
]
BASE = STAGES[0]


async def run_out(operator: OperatorInHand, kubelet: Kubelet, clock: Clock, wins: int = 95) -> list[str]:
    """Let every Job succeed until the run rests; return the Jobs in the order they appeared."""
    order: list[str] = []
    await operator.settle()
    while jobs := kubelet.open_jobs():
        order += jobs
        clock.pass_seconds(60)
        for job in jobs:
            await kubelet.succeed(job, wins)
        await operator.settle()
    return order


async def test_a_run_is_carried_out_stage_by_stage_and_promoted(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    assert await run_out(operator, kubelet, clock) == STAGES
    assert status_of(server)["phase"] == "Promoted"
    assert condition(server, "Promoted")[:2] == ("True", "Promoted")
    told = [event["reason"] for event in server.objects_of("events")]
    assert told.count("StageSucceeded") == told.count("StageStarted") == 7
    assert told.count("Promoted") == 1


async def test_a_stage_costs_at_most_ten_writes_and_no_list(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    await run_out(operator, kubelet, clock)
    before = len(server.calls)
    for _ in range(10):
        await operator.look()
    assert len(server.calls) == before
    assert server.lists == []
    # The claim, the gates and the promotion are the run's, not a stage's; progress, of which there is none here, is 3
    # writes of a stage, and a training on several nodes has a Service besides.
    writes = [call for call in server.calls if call[0] != "GET"]
    assert len(writes) <= 7 * (10 - 3 - 1) + 4


async def test_every_child_is_owned_by_its_run(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    await run_out(operator, kubelet, clock)
    uid = server.get_one("hardeningruns", "first")["metadata"]["uid"]
    for plural in ("jobs", "configmaps", "networkpolicies", "persistentvolumeclaims"):
        assert server.objects_of(plural)
        for child in server.objects_of(plural):
            assert [owner["uid"] for owner in child["metadata"]["ownerReferences"]] == [uid]
    await server.remove("hardeningruns", "first")
    assert {plural for plural, _, _ in server.stored} == {"events"}


async def test_a_candidate_that_fails_its_gates_is_not_promoted(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    assert await run_out(operator, kubelet, clock, wins=BAD) == STAGES[:-1]
    assert (status_of(server)["phase"], condition(server, "GatePassed")[:2]) == (
        "NotPromoted",
        ("False", "GatesFailed"),
    )
    assert "0.1" in condition(server, "GatePassed")[2]


async def test_a_candidate_waits_for_the_approval_that_names_it(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server, promotion=promotion(approval="Manual"))
    assert await run_out(operator, kubelet, clock) == STAGES[:-1]
    assert status_of(server)["phase"] == "AwaitingApproval"
    for name, candidate in (("right", digest_for(1, "TrainDefender", 0)), ("newer", digest_for("another"))):
        clock.pass_seconds(60)
        spec = {"run": "first", "candidate": candidate, "decision": "Approved", "approver": "ada"}
        metadata = {"name": name, "namespace": "ns", "creationTimestamp": clock.text()}
        await server.create_object("promotionapprovals", {"metadata": metadata, "spec": spec})
    assert await run_out(operator, kubelet, clock) == STAGES[-1:]
    assert status_of(server)["phase"] == "Promoted"
    assert [(each["decision"], each.get("approver")) for each in status_of(server)["decisions"]] == [
        ("AwaitApproval", None),
        ("Approved", "ada"),
        ("Promote", None),
    ]


async def test_an_operator_killed_after_it_stored_its_decision_loses_nothing(
    server: ApiServer, api: KubernetesApi, clock: Clock, kubelet: Kubelet
) -> None:
    await submit(server)
    server.failures += [("POST", "jobs", 503)] * 5
    with pytest.raises(ApiError, match="503"):
        await OperatorInHand(server, api, clock).look()
    assert (server.statuses_written("first"), server.names("jobs")) == (1, [])
    after = OperatorInHand(server, api, clock)
    await after.settle()
    assert (server.statuses_written("first"), server.names("jobs")) == (1, [BASE])
    assert await run_out(after, kubelet, clock) == STAGES


async def test_a_new_operator_at_every_look_runs_every_stage_once(
    server: ApiServer, api: KubernetesApi, clock: Clock, kubelet: Kubelet
) -> None:
    await submit(server)
    order: list[str] = []
    while status_of(server).get("phase") != "Promoted":
        await OperatorInHand(server, api, clock).look()
        for job in kubelet.open_jobs():
            order.append(job)
            await kubelet.succeed(job)
    assert order == STAGES


async def test_of_two_operators_at_once_one_decides(
    server: ApiServer, api: KubernetesApi, clock: Clock, kubelet: Kubelet
) -> None:
    await submit(server)
    first, second = OperatorInHand(server, api, clock), OperatorInHand(server, api, clock)
    while status_of(server).get("phase") != "Promoted":
        second.late()
        await first.look()
        written = server.get_one("hardeningruns", "first")["metadata"]["resourceVersion"]
        # The second decided from the same past: it is refused, reads anew and finds it done.
        assert (await second.look())[0] == "Unchanged"
        assert server.get_one("hardeningruns", "first")["metadata"]["resourceVersion"] == written
        second.in_step()
        for job in kubelet.open_jobs():
            await kubelet.succeed(job)
    assert sorted(server.names("jobs")) == sorted(STAGES)
    assert second.told == []


async def test_a_status_whose_answer_was_lost_is_known_as_ours(server: ApiServer, operator: OperatorInHand) -> None:
    await submit(server)
    server.after.append(("PATCH", "hardeningruns/status"))
    assert (await operator.look())[0] == "Changed"
    assert [event.reason for event in operator.told] == ["StageStarted"]
    assert server.names("jobs") == [BASE]


async def test_a_busy_api_server_is_asked_again(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    server.failures += [("PATCH", "hardeningruns/status", 429), ("POST", "jobs", 500), ("POST", "events", 503)]
    assert await run_out(operator, kubelet, clock) == STAGES
    assert server.failures == []


async def test_a_watch_that_is_late_makes_nothing_twice(server: ApiServer, operator: OperatorInHand) -> None:
    await submit(server)
    operator.late()
    await operator.look()
    calls = len(server.calls)
    await operator.settle()
    assert len(server.calls) == calls
    operator.in_step()
    await operator.settle()
    assert len(server.calls) == calls


async def test_a_user_who_edits_at_the_same_time_is_not_overwritten(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server)
    operator.late("hardeningruns")
    await edit(server, suspend=True)
    await operator.look()
    assert (status_of(server)["phase"], server.names("jobs")) == ("Suspended", [])


async def test_suspended_stages_save_and_go_and_start_again_when_resumed(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    await operator.settle()
    await kubelet.pod(BASE)
    await edit(server, suspend=True)
    await operator.settle()
    assert status_of(server)["phase"] == "Suspended"
    assert "deletionTimestamp" in server.get_one("jobs", BASE)["metadata"]
    # Resumed while the pod still saves: the same attempt must wait until it has gone.
    await edit(server, suspend=False)
    await operator.settle()
    assert server.calls.count(("POST", "jobs", BASE)) == 1
    await kubelet.let_go()
    assert await run_out(operator, kubelet, clock) == STAGES
    assert status_of(server)["base"]["stages"][0]["attempts"] == 1


async def test_a_run_that_is_being_deleted_is_left_alone(server: ApiServer, operator: OperatorInHand) -> None:
    await submit(server)
    document = server.get_one("hardeningruns", "first")
    document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await operator.settle()
    assert server.calls == []


async def test_a_run_deleted_while_it_was_looked_at_is_forgotten(server: ApiServer, operator: OperatorInHand) -> None:
    await submit(server)
    operator.late()
    await server.vanish("hardeningruns", "first")
    assert await operator.look() == ("Unchanged", None)
    assert server.stored == {}


async def test_a_spec_that_cannot_be_read_is_refused_in_words_and_taken_once_it_is_corrected(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server, rounds="many")
    await operator.settle()
    assert condition(server, "Accepted")[:2] == ("False", "SpecInvalid")
    assert 'spec.rounds: got "many": expected a whole number from 1 to 100' in condition(server, "Accepted")[2]
    assert (server.names("jobs"), server.statuses_written("first")) == ([], 1)
    await edit(server, rounds=1)
    await operator.settle()
    assert condition(server, "Accepted")[:2] == ("True", "SpecValid")
    assert server.names("jobs") == [BASE]


async def test_a_spec_that_no_pod_can_use_is_refused_before_anything_starts(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server, stages={"all": {"env": [{"name": "HARDENING_SECRETS_DIR", "value": "/x"}]}})
    await operator.settle()
    status, reason, message = condition(server, "Accepted")
    assert (status, reason, server.names("jobs")) == ("False", "SpecInvalid", [])
    assert "spec.stages.all.env[0].name: got HARDENING_SECRETS_DIR" in message


async def test_a_status_of_another_version_is_not_touched(server: ApiServer, operator: OperatorInHand) -> None:
    await submit(server)
    document = server.get_one("hardeningruns", "first")
    document["status"] = {"phase": "Dreaming"}
    for _ in range(3):
        await operator.look()
    assert status_of(server) == {"phase": "Dreaming"}
    assert [event["reason"] for event in server.objects_of("events")] == ["StatusUnreadable"]


async def test_a_stage_that_fails_is_retried_when_its_time_has_come(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    await operator.settle()
    words = report("Evaluate", "Failed", "JudgeUnavailable", "the judge did not answer: start it")
    await kubelet.fail(BASE, 69, words)
    assert await operator.settle() == 10
    assert server.names("jobs") == [BASE]
    clock.pass_seconds(10)
    await operator.settle()
    assert server.names("jobs") == [BASE, f"{BASE}-a2"]
    assert status_of(server)["base"]["stages"][0]["reason"] == "JudgeUnavailable"


async def test_bad_data_fails_the_run_at_once(server: ApiServer, operator: OperatorInHand, kubelet: Kubelet) -> None:
    await submit(server)
    await operator.settle()
    await kubelet.fail(BASE, 65, report("Evaluate", "Failed", "BadData", "row 3 has no prompt: correct it"))
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "BadData")
    assert "row 3 has no prompt: correct it" in condition(server, "Failed")[2]


async def test_a_pod_that_never_gets_a_gpu_fails_the_run_as_unschedulable_and_its_job_is_deleted(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    await operator.settle()
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    waiting = {"lastTransitionTime": clock.text(), **refused}
    await kubelet.pod(BASE, phase="Pending", containerStatuses=[], conditions=[waiting])
    clock.pass_seconds(1799)
    await operator.settle()
    assert condition(server, "Progressing")[:2] == ("False", "Unschedulable")
    assert condition(server, "Failed")[0] == "False"
    clock.pass_seconds(2)
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "Unschedulable")
    assert words in condition(server, "Failed")[2]
    assert "deletionTimestamp" in server.get_one("jobs", BASE)["metadata"]


async def test_an_attempt_that_filled_the_workspace_ends_before_the_next_begins(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    await operator.settle()
    pod = await kubelet.pod(BASE)
    await kubelet.end_pod(pod, 75, report("Evaluate", "Failed", "WorkspaceFull", "no room to write: make room"))
    await kubelet.pod(BASE)
    await operator.settle()
    assert "deletionTimestamp" in server.get_one("jobs", BASE)["metadata"]
    clock.pass_seconds(20)
    await operator.settle()
    assert server.names("jobs") == [BASE]
    await kubelet.let_go()
    await operator.settle()
    assert server.names("jobs") == [f"{BASE}-a2"]
    assert status_of(server)["base"]["stages"][0]["reason"] == "WorkspaceFull"


async def test_a_job_whose_results_are_gone_is_run_again_at_once(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server, backoffLimit=0)
    await operator.settle()
    await kubelet.complete(BASE)
    clock.pass_seconds(10)
    assert (await operator.look())[0] == "Unchanged"
    clock.pass_seconds(10)
    await operator.settle()
    assert server.names("jobs") == [BASE, f"{BASE}-a2"]
    assert status_of(server)["base"]["stages"][0]["disruptions"] == 1


async def test_what_the_api_server_refuses_to_create_fails_the_run_with_its_words(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server)
    server.failures.append(("POST", "configmaps", 403))
    assert await operator.look() == ("Changed", 0.0)
    await operator.settle()
    assert condition(server, "Failed")[:2] == ("True", "CreateRejected")
    assert f"refused ConfigMap {BASE}: configmaps refused for the test" in condition(server, "Failed")[2]


async def test_a_job_of_an_earlier_run_of_the_same_name_is_waited_for(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await operator.settle()
    job = server.get_one("jobs", BASE)
    await server.vanish("hardeningruns", "first")
    await submit(server)
    assert await operator.settle() == 2.0
    assert server.get_one("jobs", BASE) is job
    for plural in ("jobs", "configmaps", "networkpolicies", "persistentvolumeclaims"):
        for name in server.names(plural):
            await server.remove(plural, name)
    await operator.settle()
    uid = server.get_one("hardeningruns", "first")["metadata"]["uid"]
    assert server.get_one("jobs", BASE)["metadata"]["ownerReferences"][0]["uid"] == uid


async def test_the_queue_labels_of_a_run_are_passed_to_its_jobs_and_a_queued_job_just_waits(
    server: ApiServer, operator: OperatorInHand, clock: Clock
) -> None:
    await submit(server, labels={"kueue.x-k8s.io/queue-name": "gpu"})
    await operator.settle()
    job = server.get_one("jobs", BASE)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    await server.put("jobs", {**job, "spec": {**job["spec"], "suspend": True}})
    clock.pass_seconds(90_000)
    calls = len(server.calls)
    assert await operator.look() == ("Unchanged", None)
    assert len(server.calls) == calls
    assert server.get_one("jobs", BASE)["spec"]["suspend"] is True


async def test_progress_is_written_in_quarters(server: ApiServer, operator: OperatorInHand, kubelet: Kubelet) -> None:
    from hardening_operator.planner.types import Pace

    await submit(server)
    await operator.settle()
    pod = server.get_one("pods", await kubelet.pod(BASE))
    before = server.statuses_written("first")
    for percent in range(101):
        operator.progress[pod["metadata"]["uid"]] = Pace(percent / 100, 100.0 - percent)
        await operator.look()
    assert server.statuses_written("first") - before == 3
    assert status_of(server)["progress"] == [{"stage": "Evaluate", "round": 0, "ratio": 0.75, "etaSeconds": 25.0}]
