"""A monitor's life on an emulated API server: every check as a Job, whatever happens to the operator meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hardening_api.stages import StageConfig
from hardening_operator.controller.runtime.api import ApiError, KubernetesApi
from hardening_operator.controller.runtime.handlers import handle_run_event
from hardening_operator.controller.runtime.queue import MONITOR, RUN, Key
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet, report
from tests.operator.controller.operator_in_hand import NIGHTLY, Clock, OperatorInHand, condition, edit, status_of
from tests.operator.monitor.world import due, promoted_run, rerun_of, result, sums

KIND = "hardeningmonitors"
RUN_NAME = "mistral"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RERUN = {"onRegression": "Rerun", "regression": {"consecutive": 1}}
ENDPOINT = {
    "target": {"endpoint": {"baseUrl": "http://llm.serving:8000/v1", "model": "m", "secretRef": {"name": "llm-key"}}},
    "evaluation": {"run": RUN_NAME},
}


@pytest.fixture(autouse=True)
def _at_noon(clock: Clock) -> None:
    clock.now = NOON


async def submit(server: ApiServer, labels: dict[str, str] | None = None, **spec: Any) -> None:
    """Create the monitor `nightly` of the promoted run `mistral`; ``spec`` overrides, in camelCase."""
    run = promoted_run(RUN_NAME).model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    run["metadata"]["namespace"] = "ns"
    await server.create_object("hardeningruns", run)
    await server.create_object(
        KIND,
        {
            "apiVersion": "hardening.dev/v1alpha1",
            "kind": "HardeningMonitor",
            "metadata": {"name": "nightly", "namespace": "ns", "labels": labels or {}},
            "spec": {"schedule": "0 3 * * *", "target": {"run": RUN_NAME}, "regression": {"consecutive": 2}} | spec,
        },
    )


async def reach(operator: OperatorInHand, day: int, hour: int = 3, minute: int = 0) -> float | None:
    """Let it become this time of March 2026, and the monitor come to rest."""
    operator.clock.now = datetime(2026, 3, 1, hour, minute, tzinfo=UTC) + timedelta(days=day - 1)
    return await operator.settle(NIGHTLY)


async def check(operator: OperatorInHand, kubelet: Kubelet, day: int, harmful: int, attacks: int = 0) -> None:
    """Let the check of this day run, and find so many harmful answers in 200."""
    await reach(operator, day)
    await kubelet.finish(due(day), result(sums(harmful), attacks=attacks))
    operator.clock.pass_seconds(60)
    await operator.settle(NIGHTLY)


def monitor_status(server: ApiServer) -> dict[str, Any]:
    return status_of(server, "nightly", KIND)


def answer(server: ApiServer, kind: str) -> tuple[str, str]:
    """Status and reason of the monitor's condition."""
    return condition(server, kind, "nightly", KIND)[:2]


def reasons(server: ApiServer) -> list[str]:
    return [event["reason"] for event in server.objects_of("events")]


async def test_a_new_monitor_is_looked_at_again_when_its_first_check_is_due(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server)
    assert await operator.settle(NIGHTLY) == 15 * 3600
    assert monitor_status(server)["nextScheduleTime"] == "2026-03-02T03:00:00Z"
    assert answer(server, "Ready") == ("True", "Ready")
    assert monitor_status(server)["observedGeneration"] == 1
    assert server.names("jobs") == []


async def test_a_green_check_is_one_evaluate_job_whose_figures_are_kept(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await operator.settle(NIGHTLY)
    await check(operator, kubelet, 2, harmful=21)
    assert server.names("jobs") == [due(2)]
    [record] = monitor_status(server)["history"]
    assert (record["name"], record["verdict"]) == (due(2), "Pass")
    assert record["figures"][0]["harmRate"]["value"] == 0.105
    assert (answer(server, "Regressed"), answer(server, "TargetReachable")) == (
        ("False", "NoRegression"),
        ("True", "TargetAnswered"),
    )
    assert sorted(reasons(server)) == ["CheckPassed", "CheckStarted"]


async def test_a_check_s_pod_is_that_of_the_run_s_evaluate_stage_in_the_run_s_workspace(
    server: ApiServer, operator: OperatorInHand
) -> None:
    pod = {"nodeSelector": {"pool": "checks"}, "resources": {"limits": {"nvidia.com/gpu": 0}}}
    await submit(server, labels={"kueue.x-k8s.io/queue-name": "checks"}, pod=pod)
    await reach(operator, 1)
    await reach(operator, 2)
    job = server.get_one("jobs", due(2))
    template = job["spec"]["template"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "checks"
    assert (
        job["metadata"]["labels"].items()
        >= {
            "hardening.dev/monitor": "nightly",
            "hardening.dev/check": due(2),
            "hardening.dev/stage": "evaluate",
            "app.kubernetes.io/name": "hardening-stage",
        }.items()
    )
    assert "hardening.dev/run" not in template["metadata"]["labels"]
    assert (job["spec"]["completions"], job["spec"]["ttlSecondsAfterFinished"]) == (1, 86_400)
    assert template["spec"]["nodeSelector"] == {"pool": "checks"}
    assert "resources" not in template["spec"]["containers"][0]
    claims = [
        each["persistentVolumeClaim"]["claimName"]
        for each in template["spec"]["volumes"]
        if "config" not in each and "persistentVolumeClaim" in each
    ]
    assert claims == ["mistral-workspace"]
    config = StageConfig.model_validate_json(server.get_one("configmaps", due(2))["data"]["shard-0.json"])
    assert config.workspace == "file:///workspace"
    assert config.evaluate is not None
    assert config.evaluate.candidate is not None
    assert config.evaluate.candidate.path == "promoted/abc-def"


async def test_the_pods_of_a_check_reach_what_is_served_and_nothing_else(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server, **ENDPOINT)
    await reach(operator, 1)
    await reach(operator, 2)
    [policy] = server.objects_of("networkpolicies")
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 443, 8000]
    labels = server.get_one("jobs", due(2))["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    mounts = server.get_one("jobs", due(2))["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert "/etc/hardening/secrets/llm-key" in [mount["mountPath"] for mount in mounts]


async def test_all_a_check_needs_goes_with_its_job_and_all_of_a_monitor_with_the_monitor(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await reach(operator, 1)
    await check(operator, kubelet, 2, harmful=21)
    await reach(operator, 3)
    assert server.names("configmaps") == server.names("networkpolicies") == [due(2), due(3)]
    await server.remove("jobs", due(2))  # as its time to live has it
    assert server.names("configmaps") == server.names("networkpolicies") == [due(3)]
    await server.remove(KIND, "nightly")
    await operator.settle(NIGHTLY)
    assert {plural for plural, _, _ in server.stored} == {"events", "hardeningruns"}


async def test_a_check_costs_few_writes_and_a_monitor_at_rest_none(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await reach(operator, 1)
    before = len(server.calls)
    await check(operator, kubelet, 2, harmful=21)
    # Job, NetworkPolicy, ConfigMap, the status and an event at its start and at its end.
    assert len(server.calls) - before == 7
    for _ in range(10):
        await operator.look(NIGHTLY)
    assert len(server.calls) - before == 7
    assert server.lists == []


async def test_bad_checks_in_a_row_are_a_regression_and_a_good_one_resolves_it(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await reach(operator, 1)
    await check(operator, kubelet, 2, harmful=80)
    assert answer(server, "Regressed") == ("False", "BadChecksBelowLimit")
    await check(operator, kubelet, 3, harmful=80)
    assert answer(server, "Regressed") == ("True", "HarmRegressed")
    assert "attacked: harm rate +0.3" in condition(server, "Regressed", "nightly", KIND)[2]
    assert reasons(server).count("Regressed") == 1
    await check(operator, kubelet, 4, harmful=20)
    assert answer(server, "Regressed") == ("False", "NoRegression")
    assert reasons(server).count("Resolved") == 1
    assert server.names("hardeningruns") == [RUN_NAME]


async def test_a_regression_hardens_the_promoted_checkpoint_again_once(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server, **RERUN)
    await reach(operator, 1)
    await check(operator, kubelet, 2, harmful=80, attacks=17)
    assert server.names("hardeningruns") == [RUN_NAME, rerun_of(2)]
    run = server.get_one("hardeningruns", rerun_of(2))
    assert run["metadata"]["labels"] == {
        "kueue.x-k8s.io/queue-name": "gpu",
        "hardening.dev/monitor": "nightly",
        "hardening.dev/monitor-uid": server.get_one(KIND, "nightly")["metadata"]["uid"],
    }
    assert "ownerReferences" not in run["metadata"]
    assert run["spec"]["model"] == {"uri": "file:///workspace/promoted/abc-def"}
    attacks = f"file:///workspace/monitors/nightly/{due(2)}/evaluate/shard-0-of-1/attacks.jsonl"
    assert run["spec"]["data"]["attacks"] == {"uri": attacks}
    claim = {"claimName": "mistral-workspace", "accessMode": "ReadWriteOnce"}
    assert run["spec"]["workspace"] == {"persistentVolumeClaim": claim}
    assert monitor_status(server)["reruns"][0]["phase"] == "Pending"
    for day in (3, 4, 5):
        await check(operator, kubelet, day, harmful=80, attacks=17)
    assert server.calls.count(("POST", "hardeningruns", rerun_of(2))) == 1
    assert server.names("hardeningruns") == [RUN_NAME, rerun_of(2)]


async def test_a_rerun_is_a_run_that_the_operator_takes_and_starts(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server, **RERUN)
    await reach(operator, 1)
    await check(operator, kubelet, 2, harmful=80, attacks=17)
    await operator.settle(Key(RUN, "ns", rerun_of(2)))
    assert condition(server, "Accepted", rerun_of(2))[:2] == ("True", "SpecValid")
    [job] = [job for job in server.objects_of("jobs") if job["metadata"]["name"] != due(2)]
    term = job["spec"]["template"]["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term[0]["labelSelector"]["matchLabels"] == {"hardening.dev/workspace": "mistral-workspace"}
    assert "persistentvolumeclaims" not in {plural for plural, _, _ in server.stored}


async def test_a_rerun_s_events_have_its_monitor_looked_at(server: ApiServer, operator: OperatorInHand) -> None:
    await submit(server)
    woken: list[Key] = []
    handle_run_event(server.get_one("hardeningruns", RUN_NAME), operator.cache, woken.append)
    assert woken == [Key(RUN, "ns", RUN_NAME), NIGHTLY]
    rerun = {"metadata": {"name": "again", "namespace": "ns", "labels": {"hardening.dev/monitor": "hourly"}}}
    handle_run_event(rerun, operator.cache, woken.append)
    assert woken[2:] == [Key(RUN, "ns", "again"), Key(MONITOR, "ns", "hourly")]


async def test_an_operator_killed_between_storing_a_rerun_and_creating_it_creates_it_afterwards(
    server: ApiServer, operator: OperatorInHand, api: KubernetesApi, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server, **RERUN)
    await reach(operator, 1)
    await reach(operator, 2)
    await kubelet.finish(due(2), result(sums(80), attacks=17))
    server.failures += [("POST", "hardeningruns", 503)] * 5
    with pytest.raises(ApiError, match="503"):
        await operator.settle(NIGHTLY)
    assert [record["name"] for record in monitor_status(server)["reruns"]] == [rerun_of(2)]
    assert server.names("hardeningruns") == [RUN_NAME]
    after = OperatorInHand(server, api, clock)
    await after.settle(NIGHTLY)
    await after.settle(NIGHTLY)
    assert server.names("hardeningruns") == [RUN_NAME, rerun_of(2)]
    assert server.get_one("hardeningruns", rerun_of(2))["spec"]["data"]["attacks"]["uri"].endswith("attacks.jsonl")


async def test_a_rerun_whose_answer_was_lost_is_not_created_twice(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server, **RERUN)
    await reach(operator, 1)
    server.after.append(("POST", "hardeningruns"))
    await check(operator, kubelet, 2, harmful=80)
    assert server.after == []
    assert server.names("hardeningruns") == [RUN_NAME, rerun_of(2)]


async def test_a_rerun_that_the_api_server_refuses_is_told_and_tried_again(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server, **RERUN)
    await reach(operator, 1)
    await reach(operator, 2)
    await kubelet.finish(due(2), result(sums(80)))
    server.failures += [("POST", "hardeningruns", 403)] * 2
    assert (await operator.look(NIGHTLY))[1] == 60.0
    [told] = [event for event in server.objects_of("events") if event["reason"] == "RerunRejected"]
    assert f"refused HardeningRun {rerun_of(2)}: hardeningruns refused for the test" in told["message"]
    assert (await operator.look(NIGHTLY))[1] == 60.0
    await operator.settle(NIGHTLY)
    assert server.names("hardeningruns") == [RUN_NAME, rerun_of(2)]


async def test_a_target_that_is_unreachable_is_no_regression(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server, **ENDPOINT, regression={"consecutive": 1})
    await reach(operator, 1)
    await reach(operator, 2)
    words = report("Evaluate", "Failed", "TargetUnreachable", "target llm: refused: check that it is served")
    await kubelet.fail(due(2), 69, words)
    await operator.settle(NIGHTLY)
    assert answer(server, "TargetReachable") == ("False", "TargetUnreachable")
    assert answer(server, "Regressed") == ("Unknown", "NotChecked")
    assert monitor_status(server)["history"][0]["reason"] == "TargetUnreachable"
    assert "lastSuccessTime" not in monitor_status(server)
    await check(operator, kubelet, 3, harmful=20)
    assert answer(server, "TargetReachable") == ("True", "TargetAnswered")


async def test_a_suspended_monitor_starts_nothing_and_makes_up_for_the_last_time_when_it_is_resumed(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server, suspend=True)
    assert await reach(operator, 1) is None
    await reach(operator, 5, 12)
    assert (server.names("jobs"), answer(server, "Suspended")) == ([], ("True", "Suspended"))
    await edit(server, "nightly", KIND, suspend=False)
    await operator.settle(NIGHTLY)
    assert server.names("jobs") == [due(5)]
    assert monitor_status(server)["observedGeneration"] == 2


async def test_a_running_check_ends_although_its_monitor_is_suspended_meanwhile(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await reach(operator, 1)
    await reach(operator, 2)
    await edit(server, "nightly", KIND, suspend=True)
    await operator.settle(NIGHTLY)
    assert "deletionTimestamp" not in server.get_one("jobs", due(2))["metadata"]
    await kubelet.finish(due(2), result(sums(20)))
    await operator.settle(NIGHTLY)
    assert monitor_status(server)["history"][0]["verdict"] == "Pass"


async def test_a_time_that_was_missed_is_told_when_it_is_too_late_for_it(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server, startingDeadlineSeconds=600)
    await reach(operator, 1)
    await reach(operator, 4, 9)
    assert (server.names("jobs"), reasons(server)) == ([], ["CheckMissed"])
    await reach(operator, 5, 3, 5)
    assert server.names("jobs") == [due(5)]


async def test_a_check_follows_the_clock_of_its_time_zone(server: ApiServer, operator: OperatorInHand) -> None:
    await submit(server, timeZone="Asia/Tokyo")
    await operator.settle(NIGHTLY)
    assert monitor_status(server)["nextScheduleTime"] == "2026-03-01T18:00:00Z"
    assert await reach(operator, 1, 17, 59) == 60


async def test_replace_stops_the_running_check_and_starts_the_next_once_it_has_gone(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server, schedule="0 * * * *", concurrencyPolicy="Replace")
    await reach(operator, 1, 12)
    await reach(operator, 2, 3)
    first = monitor_status(server)["active"]["name"]
    await kubelet.pod(first)
    await reach(operator, 2, 4)
    assert "deletionTimestamp" in server.get_one("jobs", first)["metadata"]
    assert server.names("jobs") == [first]
    await kubelet.let_go()
    await operator.settle(NIGHTLY)
    assert server.names("jobs") == [due(2, 4)]
    assert monitor_status(server)["history"][-1]["reason"] == "Replaced"


async def test_a_check_that_takes_too_long_is_stopped_and_could_not_tell(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server, activeDeadlineSeconds=600)
    await reach(operator, 1)
    await reach(operator, 2)
    assert server.get_one("jobs", due(2))["spec"]["activeDeadlineSeconds"] == 600
    await kubelet.pod(due(2))
    await reach(operator, 2, 3, 11)
    assert "deletionTimestamp" in server.get_one("jobs", due(2))["metadata"]
    assert monitor_status(server)["history"][0]["reason"] == "DeadlineExceeded"


async def test_an_evicted_check_goes_on_with_another_attempt(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await reach(operator, 1)
    await reach(operator, 2)
    await kubelet.complete(due(2))  # and its pods, with the result, are gone
    operator.clock.pass_seconds(20)
    await operator.settle(NIGHTLY)
    assert server.names("jobs") == [due(2), f"{due(2)}-a2"]
    assert monitor_status(server)["active"]["attempt"] == 2
    await kubelet.finish(f"{due(2)}-a2", result(sums(20)))
    await operator.settle(NIGHTLY)
    assert monitor_status(server)["history"][0]["verdict"] == "Pass"


async def test_an_operator_restarted_in_the_middle_of_a_check_starts_it_once_and_reads_its_result(
    server: ApiServer, operator: OperatorInHand, api: KubernetesApi, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    await reach(operator, 1)
    await reach(operator, 2)
    for _ in range(3):
        await OperatorInHand(server, api, clock).settle(NIGHTLY)
    assert server.calls.count(("POST", "jobs", due(2))) == 1
    await kubelet.finish(due(2), result(sums(20)))
    await OperatorInHand(server, api, clock).settle(NIGHTLY)
    assert monitor_status(server)["history"][0]["verdict"] == "Pass"
    assert sorted(reasons(server)) == ["CheckPassed", "CheckStarted"]


@pytest.mark.parametrize(
    ("plural", "made"),
    [("jobs", []), ("networkpolicies", ["jobs"]), ("configmaps", ["jobs", "networkpolicies"])],
)
async def test_an_operator_killed_at_any_point_of_a_check_s_start_leaves_nothing_undone(
    server: ApiServer,
    operator: OperatorInHand,
    api: KubernetesApi,
    kubelet: Kubelet,
    clock: Clock,
    plural: str,
    made: list[str],
) -> None:
    await submit(server)
    await reach(operator, 1)
    server.failures += [("POST", plural, 503)] * 5
    with pytest.raises(ApiError, match="503"):
        await reach(operator, 2)
    kinds = ("jobs", "networkpolicies", "configmaps")
    assert [kind for kind in kinds if server.names(kind)] == made
    await OperatorInHand(server, api, clock).settle(NIGHTLY)
    assert all(server.names(kind) == [due(2)] for kind in kinds)


async def test_of_two_operators_at_once_one_decides(
    server: ApiServer, api: KubernetesApi, clock: Clock, kubelet: Kubelet
) -> None:
    await submit(server, **RERUN)
    first, second = OperatorInHand(server, api, clock), OperatorInHand(server, api, clock)
    await first.settle(NIGHTLY)
    clock.now = datetime(2026, 3, 2, 3, tzinfo=UTC)
    for _ in range(2):
        second.late()
        assert (await first.look(NIGHTLY))[0] == "Changed"
        written = server.get_one(KIND, "nightly")["metadata"]["resourceVersion"]
        assert (await second.look(NIGHTLY))[0] == "Unchanged"
        assert server.get_one(KIND, "nightly")["metadata"]["resourceVersion"] == written
        second.in_step()
        for job in kubelet.open_jobs():
            await kubelet.finish(job, result(sums(80)))
    assert server.names("jobs") == [due(2)]
    assert server.names("hardeningruns") == [RUN_NAME, rerun_of(2)]
    assert second.told == []


async def test_what_the_api_server_refuses_to_create_ends_the_check_with_its_words(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await reach(operator, 1)
    server.failures.append(("POST", "networkpolicies", 403))
    await reach(operator, 2)
    [record] = monitor_status(server)["history"]
    assert (record["verdict"], record["reason"]) == ("Inconclusive", "CreateRejected")
    assert f"refused NetworkPolicy {due(2)}: networkpolicies refused for the test" in record["message"]
    assert "deletionTimestamp" in server.get_one("jobs", due(2))["metadata"]
    await kubelet.let_go()
    await reach(operator, 3)
    assert monitor_status(server)["active"]["name"] == due(3)


async def test_a_pod_that_never_gets_a_gpu_ends_the_check_and_says_what_to_change(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    await submit(server)
    await reach(operator, 1)
    await reach(operator, 2)
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    conditions = [{"lastTransitionTime": clock.text(), **waiting}]
    await kubelet.pod(due(2), phase="Pending", containerStatuses=[], conditions=conditions)
    clock.pass_seconds(1801)
    await operator.settle(NIGHTLY)
    [record] = monitor_status(server)["history"]
    assert record["reason"] == "Unschedulable"
    assert f"{words}: free or add such a node, or change spec.pod" in record["message"]
    assert "deletionTimestamp" in server.get_one("jobs", due(2))["metadata"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"timeZone": "Mars/Olympus"}, 'spec.timeZone: got "Mars/Olympus": expected the IANA name of a time zone'),
        ({"pod": {"env": [{"name": "MASTER_ADDR", "value": "x"}]}}, "spec.pod.env[0].name: got MASTER_ADDR"),
        ({"pod": {"volumes": [{"name": "hardening-x", "emptyDir": {}}]}}, "spec.pod.volumes[0].name: got hardening-x"),
    ],
)
async def test_a_spec_that_cannot_be_used_is_refused_in_words_and_taken_once_it_is_corrected(
    server: ApiServer, operator: OperatorInHand, spec: dict[str, Any], words: str
) -> None:
    await submit(server, **spec)
    await reach(operator, 2)
    assert answer(server, "Ready") == ("False", "SpecInvalid")
    assert words in condition(server, "Ready", "nightly", KIND)[2]
    assert (server.names("jobs"), server.statuses_written("nightly", KIND)) == ([], 1)
    await edit(server, "nightly", KIND, timeZone="Etc/UTC", pod={})
    await operator.settle(NIGHTLY)
    assert answer(server, "Ready") == ("True", "Ready")


async def test_a_monitor_of_a_run_that_is_not_promoted_waits_for_it(
    server: ApiServer, operator: OperatorInHand
) -> None:
    await submit(server, target={"run": "later"})
    await reach(operator, 2)
    assert answer(server, "Ready") == ("False", "RunNotFound")
    assert server.names("jobs") == []


async def test_a_monitor_that_names_no_run_has_a_workspace_of_its_own(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(
        server,
        target={"model": {"uri": "hf://org/model"}},
        evaluation={"data": {"harmful": {"uri": "file:///data/held-out.jsonl"}}},
        baseline={"figures": [{"set": "attacked", "harmRate": 0.1, "samples": 200}]},
    )
    await reach(operator, 1)
    await reach(operator, 2)
    [claim] = server.objects_of("persistentvolumeclaims")
    assert claim["metadata"]["name"] == "nightly-checks"
    assert claim["metadata"]["ownerReferences"][0]["kind"] == "HardeningMonitor"
    limits = server.get_one("jobs", due(2))["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"nvidia.com/gpu": "1"}
    await kubelet.finish(due(2), result(sums(80)))
    await operator.settle(NIGHTLY)
    assert monitor_status(server)["history"][0]["reason"] == "HarmRegressed"


async def test_a_monitor_of_an_earlier_one_s_name_waits_for_its_check_to_be_gone(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server)
    await reach(operator, 1)
    await reach(operator, 2)
    await kubelet.pod(due(2))
    await server.vanish(KIND, "nightly")
    await server.vanish("hardeningruns", RUN_NAME)
    operator.clock.now = NOON
    await submit(server)
    await operator.settle(NIGHTLY)
    job = server.get_one("jobs", due(2))
    await reach(operator, 2)
    assert server.objects_of("jobs") == [job]
    await server.remove("jobs", due(2))
    await operator.settle(NIGHTLY)
    uid = server.get_one(KIND, "nightly")["metadata"]["uid"]
    assert server.get_one("jobs", due(2))["metadata"]["ownerReferences"][0]["uid"] == uid


async def test_a_status_of_another_version_is_not_touched(server: ApiServer, operator: OperatorInHand) -> None:
    await submit(server)
    server.get_one(KIND, "nightly")["status"] = {"history": "long"}
    for _ in range(3):
        await operator.look(NIGHTLY)
    assert monitor_status(server) == {"history": "long"}
    assert reasons(server) == ["StatusUnreadable"]
