"""An object that is not the owner's is never written to, owned or deleted, whatever its kind and however it came."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient

from hardening_operator.controller.owned import NameTakenError, create_owned
from hardening_operator.controller.runtime.api import KubernetesApi
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet
from tests.operator.controller.operator_in_hand import NIGHTLY, Clock, OperatorInHand, condition, status_of, submit
from tests.operator.controller.test_life_of_a_monitor import KIND, NOON, RERUN
from tests.operator.controller.test_life_of_a_monitor import submit as submit_monitor
from tests.operator.controller.test_life_of_a_run import BASE, run_out
from tests.operator.monitor.world import due, rerun_of, result, sums

KINDS = {
    "configmaps": "ConfigMap",
    "networkpolicies": "NetworkPolicy",
    "services": "Service",
    "jobs": "Job",
    "persistentvolumeclaims": "PersistentVolumeClaim",
}
OLD_OWNER = {
    "apiVersion": "hardening.dev/v1alpha1",
    "kind": "HardeningRun",
    "name": "first",
    "uid": "the-uid-of-an-earlier-run",
    "controller": True,
}
LABELS = {"app.kubernetes.io/managed-by": "hardening-operator", "hardening.dev/run": "first"}


async def take(server: ApiServer, plural: str, name: str, **metadata: Any) -> dict[str, Any]:
    """Have somebody else create an object; return it as it is stored."""
    document = {
        "apiVersion": "v1",
        "kind": KINDS.get(plural, plural),
        "metadata": {"name": name, "namespace": "ns", **metadata},
        "data": {"thesis": "three years of work"},
    }
    return copy.deepcopy(await server.create_object(plural, document))


def place_of(plural: str) -> tuple[str, dict[str, Any]]:
    """A name that a run needs for an object of this kind, and what the run's spec says for it to need it."""
    if plural == "persistentvolumeclaims":
        return "first-workspace", {}
    if plural == "services":
        return "first-r1-train-defender", {"training": {"nodes": 2, "order": "DefenderFirst"}}
    return BASE, {}


@pytest.mark.parametrize("plural", KINDS)
@pytest.mark.parametrize(
    "metadata",
    [{}, {"labels": LABELS}, {"ownerReferences": [OLD_OWNER]}, {"labels": LABELS, "ownerReferences": [OLD_OWNER]}],
    ids=["nobody's", "of its labels only", "of an earlier run", "of an earlier run, with labels"],
)
async def test_an_object_in_the_way_of_a_run_is_left_as_it_is_and_the_run_says_so_and_goes_on_without_it(
    server: ApiServer,
    operator: OperatorInHand,
    kubelet: Kubelet,
    clock: Clock,
    *,
    plural: str,
    metadata: dict[str, Any],
) -> None:
    name, spec = place_of(plural)
    taken = await take(server, plural, name, **metadata)
    await submit(server, **spec)
    await run_out(operator, kubelet, clock)
    assert server.get_one(plural, name) == taken
    assert plural == "jobs" or name not in server.names("jobs")
    status, reason, message = condition(server, "Progressing")
    assert (status, reason, status_of(server)["phase"]) == ("False", "NameTaken", "Running")
    assert f"{KINDS[plural]} {name} in namespace ns belongs to" in message
    assert ("claimName (first-workspace) to use it" in message) is (plural == "persistentvolumeclaims")
    told = [event["message"] for event in server.objects_of("events") if event["reason"] == "StageWaiting"]
    assert len(told) == 1
    for _ in range(20):
        clock.pass_seconds(31)
        await operator.settle()
    assert server.get_one(plural, name) == taken

    await server.remove(plural, name)
    clock.pass_seconds(31)
    await run_out(operator, kubelet, clock)
    assert status_of(server)["phase"] == "Promoted"


@pytest.mark.parametrize("plural", KINDS)
async def test_an_object_in_the_way_of_a_run_survives_the_run(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock, plural: str
) -> None:
    name, spec = place_of(plural)
    taken = await take(server, plural, name)
    await submit(server, **spec)
    await run_out(operator, kubelet, clock)
    await server.remove("hardeningruns", "first")
    assert server.get_one(plural, name) == taken
    assert ("DELETE", plural, name) not in server.calls


async def test_an_own_object_that_is_being_deleted_is_waited_for(
    server: ApiServer, operator: OperatorInHand, clock: Clock
) -> None:
    await take(server, "configmaps", BASE, deletionTimestamp=clock.text())
    await submit(server)
    await operator.settle()
    assert condition(server, "Progressing")[1:] == (
        "NameTaken",
        f"base Evaluate: ConfigMap {BASE} in namespace ns is being deleted: it is created again once it is gone",
    )
    await server.remove("configmaps", BASE)
    clock.pass_seconds(31)
    await operator.settle()
    assert server.names("jobs") == [BASE]


@pytest.mark.parametrize(
    ("plural", "name"),
    [
        ("jobs", due(2)),
        ("networkpolicies", due(2)),
        ("configmaps", due(2)),
        ("persistentvolumeclaims", "nightly-checks"),
    ],
)
async def test_an_object_in_the_way_of_a_check_is_left_as_it_is_and_the_monitor_says_so(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock, plural: str, name: str
) -> None:
    clock.now = NOON
    taken = await take(server, plural, name)
    own_workspace = {
        "target": {"model": {"uri": "hf://org/model"}},
        "evaluation": {"data": {"harmful": {"uri": "file:///data/held-out.jsonl"}}},
        "baseline": {"figures": [{"set": "attacked", "harmRate": 0.1, "samples": 200}]},
    }
    await submit_monitor(server, **(own_workspace if "claim" in plural else {}))
    await operator.settle(NIGHTLY)
    clock.now = datetime(2026, 3, 2, 3, tzinfo=UTC)
    await operator.settle(NIGHTLY)
    assert server.get_one(plural, name) == taken
    status, reason, message = condition(server, "Ready", "nightly", KIND)
    assert (status, reason) == ("False", "NameTaken")
    assert f"{KINDS[plural]} {name} in namespace ns belongs to nobody, not to this" in message
    assert [event["reason"] for event in server.objects_of("events")].count("CheckWaiting") == 1

    await server.remove(plural, name)
    clock.pass_seconds(31)
    await operator.settle(NIGHTLY)
    await kubelet.finish(due(2), result(sums(20)))
    await operator.settle(NIGHTLY)
    assert condition(server, "Ready", "nightly", KIND)[:2] == ("True", "Ready")
    assert status_of(server, "nightly", KIND)["history"][0]["verdict"] == "Pass"


async def test_a_run_that_somebody_else_gave_the_name_of_a_rerun_is_not_taken_for_it(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet, clock: Clock
) -> None:
    clock.now = NOON
    await submit(server, rerun_of(2), labels={"hardening.dev/monitor": "nightly"})
    taken = copy.deepcopy(server.get_one("hardeningruns", rerun_of(2)))
    await submit_monitor(server, **RERUN)
    await operator.settle(NIGHTLY)
    clock.now = datetime(2026, 3, 2, 3, tzinfo=UTC)
    await operator.settle(NIGHTLY)
    await kubelet.finish(due(2), result(sums(80)))
    await operator.look(NIGHTLY)
    assert await operator.settle(NIGHTLY) == 60.0
    assert server.get_one("hardeningruns", rerun_of(2)) == taken
    [told] = [event for event in server.objects_of("events") if event["reason"] == "RerunRejected"]
    assert "was not created by this monitor and was left as it is: delete it" in told["message"]
    assert "phase" not in status_of(server, "nightly", KIND)["reruns"][0]

    await server.remove("hardeningruns", rerun_of(2))
    await operator.settle(NIGHTLY)
    await operator.settle(NIGHTLY)
    assert status_of(server, "nightly", KIND)["reruns"][0]["phase"] == "Pending"


def config_map() -> dict[str, Any]:
    owner = {**OLD_OWNER, "uid": "u"}
    metadata = {"name": "x", "namespace": "ns", "labels": LABELS, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


class RacingApi(KubernetesApi):
    """Lets somebody else replace what was just read, before it is written."""

    def __init__(self, client: ApiClient, server: ApiServer) -> None:
        super().__init__(client)
        self.server = server

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        found = await super().get(kind, namespace, name)
        if found is not None and found["metadata"].get("ownerReferences"):
            await self.server.remove("configmaps", name)
            await take(self.server, "configmaps", name)
        return found


async def test_an_object_that_somebody_replaced_after_it_was_read_is_not_written_to(
    server: ApiServer, client: ApiClient
) -> None:
    await create_owned(KubernetesApi(client), config_map())
    with pytest.raises(NameTakenError, match="belongs to nobody"):
        await create_owned(RacingApi(client, server), config_map())
    stored = server.get_one("configmaps", "x")
    assert (stored["data"], "ownerReferences" in stored["metadata"]) == ({"thesis": "three years of work"}, False)


async def test_an_own_object_is_brought_up_to_date(server: ApiServer, api: KubernetesApi) -> None:
    await create_owned(api, config_map())
    await create_owned(api, config_map() | {"data": {"a": "2"}})
    assert server.get_one("configmaps", "x")["data"] == {"a": "2"}


async def test_an_own_object_that_cannot_be_changed_stays_as_it_is(server: ApiServer, api: KubernetesApi) -> None:
    await create_owned(api, config_map())
    server.failures.append(("PATCH", "configmaps", 422))
    found = await create_owned(api, config_map() | {"data": {"a": "2"}})
    assert (found["data"], server.get_one("configmaps", "x")["data"]) == ({"a": "1"}, {"a": "1"})
