"""The work queue: which resources to look at next.

A key that waits is there once, however often it is added; one that is being worked on is not given out a second time,
but comes again if it was added meanwhile. One that failed comes back after a delay that doubles.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)
RUN, MONITOR = "HardeningRun", "HardeningMonitor"
"""Kinds that are looked after."""
FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
"""Seconds before a key that failed is tried again."""


@dataclass(frozen=True)
class Key:
    """A resource that a reconciler looks after."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


Work = Callable[[Key], Awaitable[float | None]]
"""Looks at a resource; returns the seconds after which to do so again, whatever happens till then."""


class WorkQueue:
    """Keys to be worked on, for one event loop."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._ready: deque[Key] = deque()
        self._waiting: set[Key] = set()
        self._active: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: Key) -> None:
        """Have ``key`` looked at as soon as a worker is free."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Have ``key`` looked at in ``seconds``, unless that is already due earlier."""
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        if known is not None:
            if known.when() <= loop.time() + seconds:
                return
            known.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def oldest_work(self) -> float:
        """Return for how many seconds the slowest worker has been at its key."""
        now = asyncio.get_running_loop().time()
        return max((now - since for since in self._active.values()), default=0.0)

    async def work(self, work: Work) -> None:
        """Run one worker loop: pass keys to ``work``, one after the other, without end."""
        while True:
            await self.step(work)

    async def step(self, work: Work) -> None:
        """Wait for a key and have it worked on; what goes wrong is logged, and tried again later."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._active[key] = asyncio.get_running_loop().time()
        try:
            delay = await work(key)
        except Exception as error:
            self._failed(key, error)
        else:
            self._failures.pop(key, None)
            if delay is not None:
                self.add_after(key, delay)
        finally:
            del self._active[key]
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    def _failed(self, key: Key, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (min(failures, 16) - 1)) * (1 + self._jitter() / 2)
        known = isinstance(error, (OSError, TimeoutError)) or getattr(error, "expected", False)
        log.warning("%s: %s: tried again in %.1f s", key, error, delay, exc_info=None if known else error)
        self.add_after(key, delay)

    def _due(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)
