"""The running operator: one queue, its workers, and what they need."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import aiohttp

from hardening_operator.controller.monitor_reconciler import MonitorReconciler
from hardening_operator.controller.progress import ProgressReader, http_fetcher
from hardening_operator.controller.reconciler import Conflict, Outcome
from hardening_operator.controller.run_reconciler import RunReconciler
from hardening_operator.controller.runtime.api import Api
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.health import Health
from hardening_operator.controller.runtime.queue import MONITOR, RUN, Key, WorkQueue
from hardening_operator.controller.runtime.resync import Sweeper
from hardening_operator.controller.runtime.views import ResourceView
from hardening_operator.metrics.facts import MonitorFacts, RunFacts, facts_of_monitor_object, facts_of_run_object
from hardening_operator.metrics.instruments import Instruments
from hardening_operator.settings import OperatorSettings

log = logging.getLogger(__name__)
Look = Callable[[Key], Coroutine[Any, Any, Outcome]]
"""Looks at one resource."""


class Manager:
    """Holds together what works while this process leads."""

    def __init__(
        self,
        settings: OperatorSettings,
        api: Api,
        clock: Callable[[], datetime],
        instruments: Instruments,
        health: Health,
    ) -> None:
        self.settings, self.api, self.clock = settings, api, clock
        self.instruments, self.health = instruments, health
        self.queue = WorkQueue()
        self.cache = Cache()
        self._reconcilers: dict[str, Look] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self._filled = asyncio.Event()

    def begin(self, cache: Cache) -> None:
        """Start the workers over a cache that kopf fills."""
        self.cache, self.queue, self._filled = cache, WorkQueue(), asyncio.Event()
        self._session = aiohttp.ClientSession(trust_env=False)
        fetch = http_fetcher(self._session)
        reader = ProgressReader(cache, fetch, self.queue.add, self.settings.progress_seconds)
        runs = RunReconciler(cache, self.api, self.settings, self.clock, self.instruments, reader.measured)
        monitors = MonitorReconciler(cache, self.api, self.settings, self.clock, self.instruments)
        self._reconcilers = {RUN: runs, MONITOR: monitors}
        sweeper = Sweeper(cache, self.api, self.queue.add, self.health)
        self.health.oldest_work = self.queue.oldest_work
        self.health.sweep_seconds = self.settings.resync_seconds
        loops = [self.queue.work(self.look) for _ in range(self.settings.workers)]
        loops.append(self._once_filled(sweeper.run(self.settings.resync_seconds)))
        if self.settings.progress_seconds:
            loops.append(self._once_filled(reader.run()))
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        for task in self._tasks:
            task.add_done_callback(_tell_of_failure)
        self.health.role = "leading"

    async def end(self) -> None:
        """Stop the workers; a look that is half done is done again by whoever leads next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        self._tasks, self._session, self.health.last_sweep = [], None, None
        self.cache = Cache()

    def wake(self, key: Key) -> None:
        """Have a resource looked at; the first call means that the indices are whole."""
        self._filled.set()
        self.queue.add(key)

    async def look(self, key: Key) -> float | None:
        """Look at one resource, and time it."""
        begun, outcome = time.perf_counter(), "Error"
        try:
            outcome, again = await self._reconcilers[key.kind](key)
        except Conflict:
            outcome = "Conflict"
            raise
        finally:
            self.instruments.observe_reconcile(key.kind, outcome, time.perf_counter() - begun)
            self.instruments.observe_queue(len(self.queue))
        return again

    def run_facts(self) -> list[RunFacts]:
        """Return what a scrape exports of every run; nothing on a standby. Safe to call from another thread."""
        return [facts_of_run_object(run.document) for run in _resources(self.cache, RUN)]

    def monitor_facts(self) -> list[MonitorFacts]:
        """Return what a scrape exports of every monitor; nothing on a standby. Safe to call from another thread."""
        return [facts_of_monitor_object(monitor.document) for monitor in _resources(self.cache, MONITOR)]

    async def _once_filled(self, loop: Coroutine[Any, Any, None]) -> None:
        try:
            await self._filled.wait()
        except asyncio.CancelledError:
            loop.close()
            raise
        await loop


def _resources(cache: Cache, kind: str) -> list[ResourceView]:
    return [found for key in cache.keys(kind) if (found := cache.resource(key)) is not None]


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a loop of the operator ended: %s", task.exception(), exc_info=task.exception())
