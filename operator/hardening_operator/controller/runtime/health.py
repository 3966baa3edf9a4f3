"""Whether the process is well: `/healthz` for the kubelet to restart it, `/readyz` for rolling updates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

STUCK_SECONDS = 300.0
"""No look at a resource takes so long: each call has its timeout."""


@dataclass
class Health:
    """What the probes tell; written by the parts of the operator as they come and go."""

    role: str = "starting"
    """`starting`, `standby`, `leading` (watching and working) or `stopping`."""
    oldest_work: Callable[[], float] = lambda: 0.0
    """Seconds that the slowest worker has been at one resource."""
    last_sweep: float | None = None
    """Loop time of the last sweep over all runs; None where there are none."""
    sweep_seconds: float = 30.0
    """How often there should be one."""

    def alive(self) -> tuple[bool, str]:
        """Return whether the process still gets on, and why not."""
        busy = self.oldest_work()
        if busy > STUCK_SECONDS:
            return False, f"a worker has been busy for {busy:.0f} s"
        if self.last_sweep is not None:
            since = asyncio.get_running_loop().time() - self.last_sweep
            if since > self.sweep_seconds * 3 + STUCK_SECONDS:
                return False, f"no sweep for {since:.0f} s"
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Return whether the process does its part; standing by is one."""
        return self.role in ("standby", "leading"), self.role


async def serve_health(health: Health, port: int, address: str = "0.0.0.0") -> web.AppRunner:  # noqa: S104 - probed from outside
    """Answer the probes on ``port`` until the runner is cleaned up. Raises OSError when the port cannot be had."""

    async def healthz(_request: web.Request) -> web.Response:
        return _answer(health.alive())

    async def readyz(_request: web.Request) -> web.Response:
        return _answer(health.ready())

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    return runner


def _answer(state: tuple[bool, str]) -> web.Response:
    return web.Response(status=200 if state[0] else 503, text=f"{state[1]}\n")
