"""A Job that was applied a moment ago, until the watch stream tells of it: known once, and no longer than it is."""

from __future__ import annotations

from typing import Any

import pytest

from hardening_operator.controller.runtime.cache import LONGEST_LAG, Indices, World
from hardening_operator.controller.runtime.handlers import handle_job_event, index_job
from hardening_operator.controller.runtime.queue import RUN, Key
from hardening_operator.controller.runtime.views import JobExtract
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


def extract_of(uid: str) -> JobExtract:
    return index_job(job_of(uid))[FIRST]


@pytest.fixture
def streamed() -> dict[Key, list[JobExtract]]:
    """What kopf's index of Jobs holds."""
    return {}


@pytest.fixture
def world(streamed: dict[Key, list[JobExtract]]) -> World:
    return World(Indices(jobs=streamed))


def test_a_job_is_known_before_the_stream_tells_of_it(world: World) -> None:
    world.applied_job(FIRST, extract_of("a"))
    assert [job.uid for job in world.jobs(FIRST, START)] == ["a"]
    assert world.jobs(Key(RUN, "ns", "another"), START) == []


@pytest.mark.parametrize("stream_first", [False, True])
def test_a_job_that_the_stream_told_of_and_that_was_deleted_is_known_no_longer(
    world: World, streamed: dict[Key, list[JobExtract]], stream_first: bool
) -> None:
    def told() -> None:
        streamed[FIRST] = [extract_of("a")]
        handle_job_event(job_of("a"), world, lambda _key: None)

    steps = [told, lambda: world.applied_job(FIRST, extract_of("a"))]
    for step in steps if stream_first else reversed(steps):
        step()
    assert [job.uid for job in world.jobs(FIRST, START)] == ["a"]
    del streamed[FIRST]
    assert world.jobs(FIRST, START) == []


def test_a_job_that_no_stream_has_shown_for_long_is_not_there(world: World) -> None:
    world.applied_job(FIRST, extract_of("a"))
    assert [job.uid for job in world.jobs(FIRST, START + LONGEST_LAG)] == ["a"]
    assert world.jobs(FIRST, START + 2 * LONGEST_LAG) == []


def test_a_job_that_is_not_there_is_hidden(world: World) -> None:
    world.applied_job(FIRST, extract_of("a"))
    world.is_gone("a")
    assert world.jobs(FIRST, START) == []
