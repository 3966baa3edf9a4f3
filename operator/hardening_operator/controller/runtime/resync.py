"""The safety net: every live run and every monitor is looked at now and then, and a little of what is known is checked.

A watch stream that was cut for long is reopened with a list, which does not say what was deleted meanwhile. So some
objects are asked for each time; one that is not there any more is hidden, and its run looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from hardening_api.status import TERMINAL_PHASES
from hardening_operator.controller.runtime.api import Api, ApiError
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.health import Health
from hardening_operator.controller.runtime.queue import MONITOR, RUN, Key

log = logging.getLogger(__name__)
CHECKS = 20
"""Objects asked for in one sweep."""


class Sweeper:
    """Sweeps over all runs and monitors."""

    def __init__(self, cache: Cache, api: Api, wake: Callable[[Key], None], health: Health) -> None:
        self._cache, self._api, self._wake, self._health = cache, api, wake, health
        self._unchecked: deque[tuple[str, Key, str, str]] = deque()
        """Kind, whose it is, name and uid."""

    async def run(self, seconds: float) -> None:
        """Sweep every ``seconds``, without end."""
        while True:
            self._health.last_sweep = asyncio.get_running_loop().time()
            await asyncio.sleep(seconds)
            self.wake_live()
            try:
                await self.check_some()
            except ApiError as error:
                log.warning("sweep: %s", error)

    def wake_live(self) -> None:
        """Have every monitor looked at, and every run that has not ended or still has a Job."""
        busy = {key for key, job in self._cache.unfinished_jobs()}
        for key in self._cache.keys(RUN):
            run = self._cache.resource(key)
            if run is not None and (run.status.get("phase") not in TERMINAL_PHASES or key in busy):
                self._wake(key)
        for key in self._cache.keys(MONITOR):
            self._wake(key)

    async def check_some(self) -> None:
        """Ask whether some of the objects that should be there are. Raises ApiError when nobody answers."""
        if not self._unchecked:
            self._unchecked.extend(self._all())
        for _ in range(min(CHECKS, len(self._unchecked))):
            kind, key, name, uid = self._unchecked.popleft()
            found = await self._api.get(kind, key.namespace, name)
            if found is None or found["metadata"]["uid"] != uid:
                self._cache.is_gone(uid)
                self._wake(key)

    def _all(self) -> list[tuple[str, Key, str, str]]:
        keys = [*self._cache.keys(RUN), *self._cache.keys(MONITOR)]
        known = [(key, found) for key in keys if (found := self._cache.resource(key)) is not None]
        jobs = [("Job", key, job.name, job.uid) for key, job in self._cache.unfinished_jobs()]
        return [*jobs, *((key.kind, key, found.name, found.uid) for key, found in known)]
