"""The work queue: what waits is there once, what is worked on is not given out twice, what failed comes back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from hardening_operator.controller.runtime.api import ApiError
from hardening_operator.controller.runtime.queue import LONGEST_DELAY, RUN, Key, WorkQueue

A, B = Key(RUN, "ns", "a"), Key(RUN, "ns", "b")


async def test_a_key_that_waits_is_given_out_once() -> None:
    queue, seen = WorkQueue(), list[Key]()

    async def work(key: Key) -> None:
        seen.append(key)

    for key in (A, B, A, A):
        queue.add(key)
    assert len(queue) == 2
    await queue.step(work)
    await queue.step(work)
    assert (seen, len(queue)) == ([A, B], 0)


async def test_a_key_that_is_added_while_it_is_worked_on_comes_again_afterwards_and_not_meanwhile() -> None:
    queue, seen = WorkQueue(), list[int]()

    async def work(key: Key) -> None:
        if not seen:
            queue.add(key)
            queue.add(key)
        seen.append(len(queue))

    queue.add(A)
    await queue.step(work)
    assert (seen, len(queue)) == ([0], 1)
    await queue.step(work)
    assert len(queue) == 0


async def test_of_two_delays_the_shorter_counts() -> None:
    queue = WorkQueue()
    for seconds in (3600, 0.01, 60):
        queue.add_after(A, seconds)
    assert len(queue) == 0
    async with asyncio.timeout(30):
        await queue.step(_nothing)


async def test_a_key_that_fails_comes_back_after_a_delay_that_doubles_up_to_a_limit() -> None:
    delays = list[float]()

    class Noted(WorkQueue):
        def add_after(self, key: Key, seconds: float) -> None:
            delays.append(seconds)
            self.add(key)

    async def fail(_key: Key) -> None:
        raise ApiError("GET /x", 503, "away")

    queue = Noted(jitter=lambda: 0.0)
    queue.add(A)
    for _ in range(10):
        await queue.step(fail)
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == LONGEST_DELAY
    await queue.step(_nothing)
    queue.add(A)
    await queue.step(fail)
    assert delays[-1] == 0.5


@pytest.mark.parametrize(("error", "traceback"), [(ApiError("GET /x", 503, "away"), False), (KeyError("x"), True)])
async def test_a_fault_of_ours_is_logged_with_its_traceback_and_one_of_the_moment_in_a_line(
    error: Exception, traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_key: Key) -> None:
        raise error

    queue = WorkQueue(jitter=lambda: 0.0)
    queue.add(A)
    with caplog.at_level(logging.WARNING):
        await queue.step(fail)
    [record] = caplog.records
    assert record.getMessage().startswith("HardeningRun ns/a: ")
    assert (record.exc_info is not None) is traceback


async def _nothing(_key: Key) -> None:
    """Do nothing."""
