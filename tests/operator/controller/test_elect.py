"""One of two operators leads: by the Lease, and by each one's own measure of time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from hardening_operator.controller.runtime.api import KubernetesApi
from hardening_operator.controller.runtime.leader_election import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    RETRY_SECONDS,
    LeaderElection,
    LostLeadershipError,
    lead,
)
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.operator_in_hand import Clock

LEASE = ("ns", "hardening-operator")


class Watch:
    """Seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def elector(api: KubernetesApi, name: str, watch: Watch, clock: Clock) -> LeaderElection:
    return LeaderElection(api, LEASE, name, clock, watch)


def lease(server: ApiServer) -> tuple[str, int]:
    """Who holds it, and how often it has changed hands."""
    spec = server.get_one("leases", LEASE[1])["spec"]
    return spec["holderIdentity"], spec["leaseTransitions"]


async def test_the_first_takes_the_lease_and_the_second_waits(
    server: ApiServer, api: KubernetesApi, watch: Watch, clock: Clock
) -> None:
    first, second = elector(api, "one", watch, clock), elector(api, "two", watch, clock)
    assert await first.acquire()
    assert not await second.acquire()
    assert lease(server) == ("one", 0)


async def test_a_lease_that_is_renewed_is_never_taken(
    server: ApiServer, api: KubernetesApi, watch: Watch, clock: Clock
) -> None:
    first, second = elector(api, "one", watch, clock), elector(api, "two", watch, clock)
    for _ in range(20):
        assert await first.acquire()
        assert not await second.acquire()
        await watch.sleep(RETRY_SECONDS)
    assert lease(server) == ("one", 0)


async def test_a_lease_whose_holder_died_is_taken_over_within_20_seconds(
    server: ApiServer, api: KubernetesApi, watch: Watch, clock: Clock
) -> None:
    first, second = elector(api, "one", watch, clock), elector(api, "two", watch, clock)
    assert await first.acquire()
    died = watch()
    while not await second.acquire():
        await watch.sleep(RETRY_SECONDS)
    assert LEASE_SECONDS < watch() - died <= LEASE_SECONDS + 2 * RETRY_SECONDS < 20
    assert lease(server) == ("two", 1)
    assert not await first.acquire()


@pytest.mark.parametrize("hours", [-9, 9])
async def test_a_standby_whose_clock_is_wrong_waits_all_the_same(
    server: ApiServer, api: KubernetesApi, watch: Watch, clock: Clock, hours: int
) -> None:
    wrong = Clock()
    wrong.now += timedelta(hours=hours)
    first, second = elector(api, "one", watch, clock), elector(api, "two", watch, wrong)
    assert await first.acquire()
    assert not await second.acquire()
    assert lease(server) == ("one", 0)


async def test_of_two_that_want_an_expired_lease_one_gets_it(
    server: ApiServer, api: KubernetesApi, watch: Watch, clock: Clock
) -> None:
    assert await elector(api, "one", watch, clock).acquire()
    others = [elector(api, name, watch, clock) for name in ("two", "three")]
    assert [await other.acquire() for other in others] == [False, False]
    await watch.sleep(LEASE_SECONDS + 1)
    assert sorted(await asyncio.gather(*(other.acquire() for other in others))) == [False, True]


async def test_who_ends_in_order_gives_the_lease_back_at_once(
    server: ApiServer, api: KubernetesApi, watch: Watch, clock: Clock
) -> None:
    async def work() -> None:
        assert lease(server)[0] == "one"

    await lead(elector(api, "one", watch, clock), work, watch, watch.sleep)
    assert lease(server)[0] == ""
    assert await elector(api, "two", watch, clock).acquire()


async def test_who_cannot_renew_stops_before_another_may_begin(
    server: ApiServer, api: KubernetesApi, watch: Watch, clock: Clock
) -> None:
    cancelled = []

    async def work() -> None:
        server.failures += [("GET", "leases", 403)] * 1000
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(watch())
            raise

    with pytest.raises(LostLeadershipError, match="could not be renewed within 7 s"):
        await lead(elector(api, "one", watch, clock), work, watch, watch.sleep)
    await asyncio.sleep(0)
    assert RENEW_SECONDS <= cancelled[0] < LEASE_SECONDS
    # It may not hold it any more, so it does not give back what may be another's.
    assert lease(server)[0] == "one"
