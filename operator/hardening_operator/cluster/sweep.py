"""The safety net: every live run is looked at now and then, and a little of what is known is checked to be there.

A watch stream that was cut for long is begun anew with a list, which does not tell what was deleted meanwhile. So some
objects are asked for each time; one that is not there any more is hidden, and its run looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from hardening_api.status import TERMINAL_PHASES
from hardening_operator.cluster.api import Api, ApiError
from hardening_operator.cluster.extracts import Address
from hardening_operator.cluster.health import Health
from hardening_operator.cluster.queue import Key
from hardening_operator.cluster.reconcile import KIND
from hardening_operator.cluster.world import World

log = logging.getLogger(__name__)
CHECKS = 20
"""Objects asked for in one sweep."""


class Sweeper:
    """Sweeps over all runs."""

    def __init__(self, world: World, api: Api, wake: Callable[[Key], None], health: Health) -> None:
        self._world, self._api, self._wake, self._health = world, api, wake, health
        self._unchecked: deque[tuple[str, Address, str, str]] = deque()
        """Kind, address of the run, name and uid."""

    async def run(self, seconds: float) -> None:
        """Sweep every ``seconds``, for ever."""
        while True:
            self._health.last_sweep = asyncio.get_running_loop().time()
            await asyncio.sleep(seconds)
            self.wake_live()
            try:
                await self.check_some()
            except ApiError as error:
                log.warning("sweep: %s", error)

    def wake_live(self) -> None:
        """Have every run looked at that has not ended, or still has a Job."""
        busy = {address for address, job in self._world.unfinished_jobs()}
        for address in self._world.addresses():
            run = self._world.run(address)
            if run is not None and (run.status.get("phase") not in TERMINAL_PHASES or address in busy):
                self._wake(Key(KIND, *address))

    async def check_some(self) -> None:
        """Ask whether some of the objects that should be there are. Raises ApiError when nobody answers."""
        if not self._unchecked:
            self._unchecked.extend(self._all())
        for _ in range(min(CHECKS, len(self._unchecked))):
            kind, address, name, uid = self._unchecked.popleft()
            found = await self._api.get(kind, address[0], name)
            if found is None or found["metadata"]["uid"] != uid:
                self._world.is_gone(uid)
                self._wake(Key(KIND, *address))

    def _all(self) -> list[tuple[str, Address, str, str]]:
        runs = [(address, run) for address in self._world.addresses() if (run := self._world.run(address)) is not None]
        jobs = [("Job", address, job.name, job.uid) for address, job in self._world.unfinished_jobs()]
        return [*jobs, *((KIND, address, run.name, run.uid) for address, run in runs)]
