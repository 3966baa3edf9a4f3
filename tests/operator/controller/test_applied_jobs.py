"""A Job that was applied a moment ago, until the watch stream tells of it: known once, and no longer than it is."""

from __future__ import annotations

from typing import Any

import pytest

from hardening_operator.controller.runtime.cache import LONGEST_LAG, Cache, Indices
from hardening_operator.controller.runtime.handlers import handle_job_event, index_job
from hardening_operator.controller.runtime.queue import RUN, Key
from hardening_operator.controller.runtime.views import JobView
from hardening_operator.planner.names import stage_labels
from tests.operator.world import START, key_of

FIRST = Key(RUN, "ns", "first")


def job_of(uid: str, run: str = "first") -> dict[str, Any]:
    owner = {"kind": "HardeningRun", "uid": "u", "controller": True}
    return {
        "metadata": {
            "name": f"{run}-r1-attack",
            "namespace": "ns",
            "uid": uid,
            "labels": stage_labels(run, key_of(1, "Attack"), 1),
            "ownerReferences": [owner],
            "creationTimestamp": START.isoformat(),
        },
    }


def view_of(uid: str) -> JobView:
    return index_job(job_of(uid))[FIRST]


@pytest.fixture
def streamed() -> dict[Key, list[JobView]]:
    """What kopf's index of Jobs holds."""
    return {}


@pytest.fixture
def cache(streamed: dict[Key, list[JobView]]) -> Cache:
    return Cache(Indices(jobs=streamed))


def test_a_job_is_known_before_the_stream_tells_of_it(cache: Cache) -> None:
    cache.applied_job(FIRST, view_of("a"))
    assert [job.uid for job in cache.jobs(FIRST, START)] == ["a"]
    assert cache.jobs(Key(RUN, "ns", "another"), START) == []


@pytest.mark.parametrize("stream_first", [False, True])
def test_a_job_that_the_stream_told_of_and_that_was_deleted_is_known_no_longer(
    cache: Cache, streamed: dict[Key, list[JobView]], stream_first: bool
) -> None:
    def told() -> None:
        streamed[FIRST] = [view_of("a")]
        handle_job_event(job_of("a"), cache, lambda _key: None)

    steps = [told, lambda: cache.applied_job(FIRST, view_of("a"))]
    for step in steps if stream_first else reversed(steps):
        step()
    assert [job.uid for job in cache.jobs(FIRST, START)] == ["a"]
    del streamed[FIRST]
    assert cache.jobs(FIRST, START) == []


def test_a_job_that_no_stream_has_shown_for_long_is_not_there(cache: Cache) -> None:
    cache.applied_job(FIRST, view_of("a"))
    assert [job.uid for job in cache.jobs(FIRST, START + LONGEST_LAG)] == ["a"]
    assert cache.jobs(FIRST, START + 2 * LONGEST_LAG) == []


def test_a_job_that_is_not_there_is_hidden(cache: Cache) -> None:
    cache.applied_job(FIRST, view_of("a"))
    cache.is_gone("a")
    assert cache.jobs(FIRST, START) == []
