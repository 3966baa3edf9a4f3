"""The operator as it runs, kopf and all, on an emulated API server: what the watch streams bring is enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient
from prometheus_client import CollectorRegistry

from hardening_operator.controller.runtime.api import KubernetesApi
from hardening_operator.controller.runtime.health import Health
from hardening_operator.controller.runtime.manager import Manager
from hardening_operator.controller.runtime.process import operate
from hardening_operator.metrics.exporter import StatusCollector
from hardening_operator.metrics.instruments import Instruments
from tests.operator.controller import operator_in_hand
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet
from tests.operator.controller.operator_in_hand import SETTINGS, Clock, edit, status_of
from tests.operator.controller.test_life_of_a_monitor import KIND, NOON, RERUN, RUN_NAME, submit
from tests.operator.controller.test_life_of_a_run import BASE, STAGES
from tests.operator.monitor.world import due, rerun_of, result, sums

SELDOM = replace(SETTINGS, leader_election=False, progress_seconds=0, resync_seconds=3600)
"""So seldom that no look in a test is the sweep's."""
OFTEN = replace(SELDOM, resync_seconds=0.1)
WITHIN_SECONDS = 60


@asynccontextmanager
async def running(
    client: ApiClient, api: KubernetesApi, clock: Clock, settings: Any = SELDOM
) -> AsyncIterator[Manager]:
    """An operator that works until the block ends, and then ends in order."""
    instruments = Instruments(CollectorRegistry(), "test")
    manager, stop = Manager(settings, api, clock, instruments, Health()), asyncio.Event()
    working = asyncio.create_task(operate(manager, client, stop))
    try:
        yield manager
    finally:
        stop.set()
        await working


async def until(server: ApiServer, wanted: Callable[[], bool]) -> None:
    """Wait for a change of the server's objects after which ``wanted`` holds."""
    async with asyncio.timeout(WITHIN_SECONDS), server.changed:
        await server.changed.wait_for(wanted)


def has_job(server: ApiServer, name: str) -> Callable[[], bool]:
    return lambda: ("jobs", "ns", name) in server.stored


@pytest.fixture
async def jobs_run(server: ApiServer, kubelet: Kubelet) -> AsyncIterator[list[str]]:
    """Every Job of a run succeeds as soon as it is there; their names, in order."""
    order: list[str] = []

    async def run() -> None:
        while True:
            async with server.changed:
                await server.changed.wait_for(lambda: bool(kubelet.open_jobs()))
            for name in kubelet.open_jobs():
                order.append(name)
                await kubelet.succeed(name)

    task = asyncio.create_task(run())
    yield order
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_events_alone_carry_a_run_to_its_end(
    server: ApiServer, client: ApiClient, api: KubernetesApi, clock: Clock, jobs_run: list[str]
) -> None:
    async with running(client, api, clock) as manager:
        await operator_in_hand.submit(server)
        await until(server, lambda: "Promoted" in [event["reason"] for event in server.objects_of("events")])
        # The two trainings are made at the same time: either may come first.
        assert [*jobs_run[:3], *sorted(jobs_run[3:5]), *jobs_run[5:]] == STAGES
        assert manager.health.ready() == (True, "leading")
        # One list a kind when it begins, and never again.
        assert len(server.lists) == len(set(server.lists))
        assert [facts.status["phase"] for facts in manager.run_facts()] == ["Promoted"]
    assert (manager.run_facts(), manager.health.role) == ([], "stopping")


@pytest.mark.parametrize("forget", [False, True])
async def test_streams_that_are_cut_are_begun_anew_and_nothing_is_done_twice(
    server: ApiServer, client: ApiClient, api: KubernetesApi, clock: Clock, kubelet: Kubelet, forget: bool
) -> None:
    async with running(client, api, clock):
        await operator_in_hand.submit(server)
        for number, stage in enumerate(STAGES):
            await until(server, has_job(server, stage))
            if number % 3 == 0:
                await server.cut_watches(forget)
            await kubelet.succeed(stage)
        await until(server, lambda: status_of(server).get("phase") == "Promoted")
    assert sorted(server.names("jobs")) == sorted(STAGES)
    assert all(server.calls.count(("POST", "jobs", stage)) == 1 for stage in STAGES)


async def test_a_job_that_went_while_the_streams_were_cut_is_missed_by_the_sweep_and_followed_by_another(
    server: ApiServer, client: ApiClient, api: KubernetesApi, clock: Clock
) -> None:
    async with running(client, api, clock, OFTEN):
        await operator_in_hand.submit(server)
        await until(server, has_job(server, BASE))
        await server.vanish("jobs", BASE)
        clock.pass_seconds(61)  # until then it may only not have been shown yet
        await until(server, has_job(server, f"{BASE}-a2"))


async def test_an_operator_that_was_away_finds_what_happened_meanwhile(
    server: ApiServer, client: ApiClient, api: KubernetesApi, clock: Clock, kubelet: Kubelet
) -> None:
    async with running(client, api, clock):
        await operator_in_hand.submit(server)
        await until(server, has_job(server, BASE))
    await kubelet.succeed(BASE)
    await edit(server, suspend=True)
    async with running(client, api, clock):
        await until(server, lambda: status_of(server).get("phase") == "Suspended")
        assert status_of(server)["base"]["stages"][0]["state"] == "Succeeded"
    assert server.names("jobs") == [BASE]


async def test_a_monitor_checks_regresses_and_hardens_again_by_events_alone(
    server: ApiServer, client: ApiClient, api: KubernetesApi, clock: Clock, kubelet: Kubelet
) -> None:
    clock.now = NOON
    await submit(server, **RERUN)
    async with running(client, api, clock) as manager:
        await until(server, lambda: "nextScheduleTime" in status_of(server, "nightly", KIND))
        clock.now = datetime(2026, 3, 2, 3, tzinfo=UTC)
        await edit(server, "nightly", KIND, historyLimit=5)  # wakes it; the timer would, hours from now
        await until(server, has_job(server, due(2)))
        await kubelet.finish(due(2), result(sums(80), attacks=3))
        again = f"{rerun_of(2)}-r0-evaluate"
        await until(server, has_job(server, again))
        await until(server, lambda: status_of(server, "nightly", KIND)["reruns"][0].get("phase") == "Running")
        series = {sample.name: sample.value for family in collected(manager) for sample in family.samples}
        assert series["hardening_monitor_regressed"] == 1
        assert series["hardening_monitor_baseline_harm_rate"] == pytest.approx(0.1)
    assert server.names("hardeningruns") == [RUN_NAME, rerun_of(2)]


def collected(manager: Manager) -> list[Any]:
    """What a scrape of the operator would give of runs and monitors."""
    return list(StatusCollector(manager.run_facts, manager.monitor_facts).collect())
