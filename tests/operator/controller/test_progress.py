"""Progress: from a stage pod's own `/metrics`, over HTTP, to what is worth a look and a write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hardening_api.status import StageProgress
from hardening_operator.controller import progress
from hardening_operator.controller.progress import (
    LONGEST_PAUSE,
    ProgressReader,
    http_fetcher,
    published,
    read_metrics,
)
from hardening_operator.controller.runtime.queue import RUN, Key
from hardening_operator.planner.types import Pace
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.kubelet import Kubelet
from tests.operator.controller.operator_in_hand import FIRST, OperatorInHand, submit
from tests.operator.controller.test_life_of_a_run import BASE

TEXT = """# TYPE hardening_stage_progress_ratio gauge
hardening_stage_progress_ratio{stage="Evaluate"} 0.25
hardening_stage_eta_seconds 90.0
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TEXT, Pace(0.25, 90.0)),
        ("hardening_stage_progress_ratio 0.5\nhardening_stage_eta_seconds NaN\n", Pace(0.5)),
        ("hardening_stage_progress_ratio 1.7\nhardening_stage_eta_seconds -1\n", Pace(1.0)),
        ("hardening_stage_progress_ratio NaN\n", None),
        ("hardening_stage_progress_ratio many\n", None),
        ("something_else 1\n", None),
    ],
)
def test_what_a_pod_says_is_read_and_held_within_bounds(text: str, found: Pace | None) -> None:
    assert read_metrics(text) == found


def test_a_status_moves_by_quarters_only() -> None:
    told = StageProgress(stage="Attack", round=1, ratio=0.25, eta_seconds=90.0)
    assert published(Pace(0.49, 60.0), told) == (0.25, 90.0)
    assert published(Pace(0.5, 60.0), told) == (0.5, 60.0)
    assert published(Pace(0.2, 60.0), None) is None
    assert published(None, told) == (0.25, 90.0)
    assert published(Pace(1.0, 0.0), told) == (0.25, 90.0)


@pytest.fixture
async def answers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Any]]:
    """What the pod's `/metrics` answers, one after the other; the last stays. None is an error."""
    given: list[Any] = []

    async def metrics(_request: web.Request) -> web.Response:
        text = given.pop(0) if len(given) > 1 else given[0]
        return web.Response(text=text) if text is not None else web.Response(status=500)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setattr(progress, "METRICS_PORT", runner.addresses[0][1])
    yield given
    await runner.cleanup()


@pytest.fixture
async def reader(operator: OperatorInHand) -> AsyncIterator[tuple[ProgressReader, list[Key]]]:
    woken: list[Key] = []
    async with aiohttp.ClientSession() as session:
        yield ProgressReader(operator.cache, http_fetcher(session), woken.append, 15.0), woken


async def test_a_running_pod_is_read_and_its_run_looked_at_when_it_has_moved(
    server: ApiServer,
    operator: OperatorInHand,
    kubelet: Kubelet,
    answers: list[Any],
    reader: tuple[ProgressReader, list[Key]],
) -> None:
    reads, woken = reader
    await submit(server)
    await operator.settle()
    pod = server.get_one("pods", await kubelet.pod(BASE, podIP="127.0.0.1"))["metadata"]
    answers += [TEXT.replace("0.25", value) for value in ("0.01", "0.25", "0.26")]
    for now, ratio, looks in ((0.0, 0.01, 0), (15.0, 0.25, 1), (30.0, 0.26, 1)):
        await reads.read_all(now)
        assert (reads.measured[pod["uid"]].ratio, woken) == (ratio, [Key(RUN, "ns", "first")] * looks)
    await kubelet.end_pod(pod["name"], 0)
    await reads.read_all(45.0)
    assert reads.measured == {}


async def test_a_pod_that_does_not_answer_is_asked_ever_more_seldom(
    server: ApiServer,
    operator: OperatorInHand,
    kubelet: Kubelet,
    answers: list[Any],
    reader: tuple[ProgressReader, list[Key]],
) -> None:
    reads, _ = reader
    await submit(server)
    await operator.settle()
    uid = server.get_one("pods", await kubelet.pod(BASE, podIP="127.0.0.1"))["metadata"]["uid"]
    answers += [None, TEXT]
    await reads.read_all(0.0)
    await reads.read_all(29.0)
    assert reads.measured == {}
    await reads.read_all(30.0)
    assert reads.measured[uid] == Pace(0.25, 90.0)
    assert LONGEST_PAUSE > 30.0


async def test_what_pods_say_is_in_the_status_of_their_run(
    server: ApiServer, operator: OperatorInHand, kubelet: Kubelet
) -> None:
    await submit(server, stages={"evaluate": {"shards": 2}})
    await operator.settle()
    uids = [server.get_one("pods", await kubelet.pod(BASE, index))["metadata"]["uid"] for index in range(2)]
    operator.progress |= {uids[0]: Pace(0.5, 10.0), uids[1]: Pace(0.7, 90.0)}
    await operator.settle()
    progress = server.get_one("hardeningruns", FIRST.name)["status"]["progress"]
    assert progress == [{"stage": "Evaluate", "round": 0, "ratio": 0.6, "etaSeconds": 90.0}]
