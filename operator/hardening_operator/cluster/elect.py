"""One of several operators works, the others stand by: a Lease says which.

The holder renews its Lease every 2 s; after 7 s without success it stops, and after 10 s another takes over. One that
ends in order gives its Lease back, and the next goes on at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

log = logging.getLogger(__name__)
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 10, 7, 2
CALL_SECONDS = 3.0
"""A call that takes longer has failed; two fit into the time to renew."""


Found = tuple[bool, LeaderElectionRecord] | tuple[bool, Exception] | tuple[bool, None]


class LostLeadershipError(Exception):
    """Another operator may lead now: this one must end at once."""


class Lock(LeaseLock):
    """A Lease whose calls end in time, and for which an API server that is away is no reason to give up."""

    async def get(self, name: str, namespace: str) -> Found:
        """Read the Lease."""
        try:
            return await asyncio.wait_for(super().get(name, namespace), CALL_SECONDS)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=str(error) or type(error).__name__)

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Create the Lease."""
        return await _tried(super().create(name, namespace, election_record))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Renew the Lease, or take it over."""
        return await _tried(super().update(name, namespace, updated_record))

    async def give_back(self) -> None:
        """Let another take over at once."""
        if self.lease_reference is None or self.lease_reference.spec is None:
            return
        self.lease_reference.spec.holder_identity = ""
        await _tried(
            self.api_instance.replace_namespaced_lease(
                name=self.name, namespace=self.namespace, body=self.lease_reference
            )
        )


async def lead(lock: Lock, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Wait until this process leads, then ``work`` until that returns, and give the lead back.

    Raises LostLeadershipError when the Lease could not be renewed in time; ``work`` is cancelled then.
    """
    leading, lost = asyncio.Event(), asyncio.Event()

    async def started() -> None:
        leading.set()

    async def stopped() -> None:
        lost.set()

    config = Config(lock, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, started, stopped)
    election = asyncio.create_task(LeaderElection(config).run(), name="election")
    try:
        await _while_elected(election, leading.wait())
        log.info("leading")
        await _while_elected(election, work())
    finally:
        election.cancel()
        await asyncio.gather(election, return_exceptions=True)
        if leading.is_set() and not lost.is_set():
            await lock.give_back()


async def _while_elected(election: asyncio.Task[None], call: Coroutine[Any, Any, object]) -> None:
    """Await ``call``, unless the election ends first."""
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait((election, task), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            election.result()
            raise LostLeadershipError(f"the Lease could not be renewed within {RENEW_SECONDS} s: another may lead now")
        await task
    finally:
        task.cancel()


async def _tried(call: Awaitable[object]) -> bool:
    """Return what a call returns, and False when the API server is away or refuses it."""
    try:
        return bool(await asyncio.wait_for(call, CALL_SECONDS))
    except (aiohttp.ClientError, ApiException, TimeoutError, OSError) as error:
        log.warning("lease: %s", str(error) or type(error).__name__)
        return False
