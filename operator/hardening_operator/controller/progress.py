"""How far running stages are: from the pods' `/metrics` into `status.progress`, in few steps."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator
from typing import Protocol

import aiohttp

from hardening_api.status import StageProgress
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.queue import RUN, Key
from hardening_operator.controller.runtime.views import PodView
from hardening_operator.planner.types import Pace
from hardening_operator.resources import METRICS_PORT

STEP = 0.25
"""The least move of a ratio that is worth an API write."""
SAMPLE = re.compile(r"^hardening_stage_(?P<name>progress_ratio|eta_seconds)(?:\{[^}]*\})? (?P<value>\S+)", re.MULTILINE)
TIMEOUT = aiohttp.ClientTimeout(total=3, sock_connect=1)
AT_ONCE = 16
LONGEST_PAUSE = 600.0
"""Seconds a pod that does not answer is left alone at most."""
WORTH_A_LOOK = 0.05
"""Move of a pod's ratio after which its run is looked at."""


def read_metrics(text: str) -> Pace | None:
    """Read the progress of a stage from its pod's metrics; None when they do not show it yet."""
    values: dict[str, float] = {}
    for sample in SAMPLE.finditer(text):
        try:
            values[sample["name"]] = float(sample["value"])
        except ValueError:
            continue
    ratio, eta = values.get("progress_ratio", math.nan), values.get("eta_seconds", math.nan)
    if not math.isfinite(ratio):
        return None
    return Pace(min(1.0, max(0.0, ratio)), eta if math.isfinite(eta) and eta >= 0 else None)


def published(measured: Pace | None, told: StageProgress | None) -> Pace | None:
    """Return what the status should say: what it says now, until the ratio has moved by a quarter.

    The last step is not written: the stage ends then, and that is written anyway. So progress costs a stage three
    writes.
    """
    before = told.ratio if told is not None else 0.0
    if measured is not None and measured.ratio < 1.0 and abs(measured.ratio - before) >= STEP:
        return measured
    return Pace(told.ratio, told.eta_seconds) if told is not None else None


class Fetcher(Protocol):
    """How a pod's metrics are read."""

    async def __call__(self, url: str) -> str:
        """Return the text at ``url``. Raises aiohttp.ClientError, TimeoutError or OSError."""


class ProgressReader:
    """Keeps what running pods say of themselves, by pod uid."""

    def __init__(self, cache: Cache, fetch: Fetcher, wake: Callable[[Key], None], pause_seconds: float) -> None:
        self._cache, self._fetch, self._wake, self._pause = cache, fetch, wake, pause_seconds
        self.measured: dict[str, Pace] = {}
        self._told: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}

    async def run(self) -> None:
        """Read again and again, without end."""
        while True:
            await self.read_all(asyncio.get_running_loop().time())
            await asyncio.sleep(self._pause)

    async def read_all(self, now: float) -> None:
        """Read every running pod that is due at loop time ``now``, and forget the others that are gone."""
        running = {pod.uid: (key, pod) for key, pod in self._running()}
        for known in (self.measured, self._told, self._failures, self._due):
            for uid in [uid for uid in known if uid not in running]:
                del known[uid]
        limit = asyncio.Semaphore(AT_ONCE)
        due = [found for uid, found in running.items() if self._due.get(uid, 0.0) <= now]
        await asyncio.gather(*(self._read(limit, key, pod, now) for key, pod in due))

    def _running(self) -> Iterator[tuple[Key, PodView]]:
        """The pods of runs: a monitor's status shows no progress."""
        return ((key, pod) for key, pod in self._cache.running_pods() if key.kind == RUN and pod.address)

    async def _read(self, limit: asyncio.Semaphore, key: Key, pod: PodView, now: float) -> None:
        host = f"[{pod.address}]" if ":" in (pod.address or "") else pod.address
        async with limit:
            try:
                measured = read_metrics(await self._fetch(f"http://{host}:{METRICS_PORT}/metrics"))
            except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError):
                # A pod that has only begun, or has no metrics at all, is not worth a call every time.
                self._failures[pod.uid] = failures = self._failures.get(pod.uid, 0) + 1
                self._due[pod.uid] = now + min(LONGEST_PAUSE, self._pause * 2 ** min(failures, 10))
                return
        self._failures.pop(pod.uid, None)
        if measured is None:
            return
        self.measured[pod.uid] = measured
        if abs(measured.ratio - self._told.get(pod.uid, 0.0)) >= WORTH_A_LOOK:
            self._told[pod.uid] = measured.ratio
            self._wake(key)


def http_fetcher(session: aiohttp.ClientSession) -> Fetcher:
    """Return a fetcher that reads over HTTP."""

    async def fetch(url: str) -> str:
        async with session.get(url, timeout=TIMEOUT) as response:
            response.raise_for_status()
            return await response.text()

    return fetch
