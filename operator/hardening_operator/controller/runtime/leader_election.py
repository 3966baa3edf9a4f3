"""One of several operators works, the others stand by: a Lease says which.

The holder renews its Lease every 2 s; after 7 s without success it stops, and when its Lease has not changed for 10 s
another takes it over. How long is measured here, by one clock, never from the times in the Lease. One that ends in
order gives its Lease back, and the next takes over at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any

from hardening_operator.controller.runtime.api import Api, ApiError

log = logging.getLogger(__name__)
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 10.0, 7.0, 2.0
CALL_SECONDS = 3.0
"""A call that takes longer has failed; two fit into the time to renew."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class LostLeadershipError(Exception):
    """Another operator may lead now: this one must end at once."""


class LeaderElection:
    """Holds a Lease, or waits for it."""

    def __init__(
        self,
        api: Api,
        lease: tuple[str, str],
        identity: str,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """``lease``: its namespace and name; ``clock`` gives UTC for people, ``monotonic`` seconds to measure with."""
        self._api, self._lease, self._identity = api, lease, identity
        self._clock, self._monotonic = clock, monotonic
        self._version: str | None = None
        self._unchanged_since = 0.0

    async def acquire(self) -> bool:
        """Take or renew the Lease; False while another holds it, or the API server is away."""
        try:
            return await asyncio.wait_for(self._acquire(), CALL_SECONDS)
        except (ApiError, TimeoutError) as error:
            log.warning("lease: %s", str(error) or type(error).__name__)
            return False

    async def give_back(self) -> None:
        """Let another take over at once."""
        try:
            found = await asyncio.wait_for(self._api.get("Lease", *self._lease), CALL_SECONDS)
            if found is not None and found["spec"].get("holderIdentity") == self._identity:
                spec = {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await asyncio.wait_for(self._api.replace({**found, "spec": spec}), CALL_SECONDS)
        except (ApiError, TimeoutError) as error:
            log.warning("lease: %s", str(error) or type(error).__name__)

    async def _acquire(self) -> bool:
        namespace, name = self._lease
        found = await self._api.get("Lease", namespace, name)
        now = self._clock().strftime(TIME_FORMAT)
        held = {"holderIdentity": self._identity, "leaseDurationSeconds": int(LEASE_SECONDS), "renewTime": now}
        if found is None:
            metadata = {"name": name, "namespace": namespace}
            first = {**held, "acquireTime": now, "leaseTransitions": 0}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": first}
            return await self._api.create(lease) is not None
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity) and not self._expired(found, spec):
            return False
        if holder != self._identity:
            held |= {"acquireTime": now, "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
        return await self._api.replace({**found, "spec": {**spec, **held}})

    def _expired(self, found: dict[str, Any], spec: dict[str, Any]) -> bool:
        """Return whether another's Lease has stayed as it is for longer than it lasts."""
        if found["metadata"]["resourceVersion"] != self._version:
            self._version, self._unchanged_since = found["metadata"]["resourceVersion"], self._monotonic()
        lasts = float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
        return self._monotonic() - self._unchanged_since > lasts


async def lead(
    elector: LeaderElection,
    work: Callable[[], Coroutine[Any, Any, None]],
    monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Wait until this process leads, then ``work`` until that returns, and give the lead back.

    Raises LostLeadershipError when the Lease could not be renewed in time; ``work`` is cancelled then.
    """
    while not await elector.acquire():
        await sleep(RETRY_SECONDS)
    log.info("leading")
    renewing = asyncio.create_task(_renew(elector, monotonic, sleep))
    working = asyncio.ensure_future(work())
    try:
        await asyncio.wait((renewing, working), return_when=asyncio.FIRST_COMPLETED)
        if renewing.done():
            renewing.result()
            raise LostLeadershipError(f"the Lease could not be renewed within {RENEW_SECONDS:.0f} s")
        await working
    finally:
        lost = renewing.done()
        renewing.cancel()
        working.cancel()
        if not lost:
            await asyncio.gather(renewing, return_exceptions=True)
            await elector.give_back()


async def _renew(
    elector: LeaderElection, monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Renew the Lease again and again; return when that has failed for too long."""
    renewed = monotonic()
    while monotonic() - renewed < RENEW_SECONDS:
        await sleep(RETRY_SECONDS)
        if await elector.acquire():
            renewed = monotonic()
