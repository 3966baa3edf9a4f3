"""The probes: alive while it gets on, ready while it does its part."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from hardening_operator.controller.runtime.health import STUCK_SECONDS, Health, serve_health


async def asked(health: Health, path: str) -> tuple[int, str]:
    """What the kubelet would be answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runner = await serve_health(health, port, "127.0.0.1")
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, (await answer.text()).strip()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("role", "status"), [("starting", 503), ("standby", 200), ("leading", 200), ("stopping", 503)])
async def test_who_leads_or_stands_by_is_ready(role: str, status: int) -> None:
    assert await asked(Health(role=role), "/readyz") == (status, role)
    assert await asked(Health(role=role), "/healthz") == (200, "alive")


async def test_a_worker_that_is_stuck_has_the_process_restarted() -> None:
    health = Health(role="leading", oldest_work=lambda: STUCK_SECONDS + 1)
    assert await asked(health, "/healthz") == (503, "a worker has been busy for 301 s")


async def test_a_sweep_that_does_not_come_has_the_process_restarted() -> None:
    now = asyncio.get_running_loop().time()
    assert Health(last_sweep=now - 380, sweep_seconds=30).alive()[0]
    alive, why = Health(last_sweep=now - 400, sweep_seconds=30).alive()
    assert (alive, why) == (False, "no sweep for 400 s")
