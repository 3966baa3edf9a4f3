"""What the terminal shows, at the widths terminals have."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from hardening_api.status import StageProgress
from hardening_operator.cli.render.live_view import WIDE, PlainView, figures_table, progress_bars
from hardening_operator.planner.types import Observed
from tests.cli import sample


def drawn(what: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, WIDE - 1, WIDE, 200])
@pytest.mark.parametrize("verdict", ["Pass", "Fail", "Inconclusive"])
def test_nothing_of_the_figures_is_cut(width: int, verdict: str) -> None:
    status = sample.status(rounds=[sample.first_round(verdict=verdict)])
    shown = drawn(figures_table(status, width), width)
    assert "…" not in shown
    assert verdict in shown
    assert "verdict" in shown
    assert "refusal" in shown
    assert "by judge guard, with 95 % intervals" in shown


def test_a_wide_table_has_a_line_a_round_and_a_narrow_one_two() -> None:
    wide, narrow = (drawn(figures_table(sample.status(), width), width) for width in (WIDE, 80))
    assert "0.10 [0.03, 0.18]" in wide
    assert "0.03-0.18" in narrow
    assert len(narrow.splitlines()) == len(wide.splitlines()) + 3


def test_a_live_table_keeps_the_base_and_the_newest_rounds() -> None:
    rounds = [sample.first_round(round=number) for number in range(1, 21)]
    shown = drawn(figures_table(sample.status(rounds=rounds), WIDE, newest=2), WIDE)
    assert [line.split()[0] for line in shown.splitlines() if "0.05" in line] == ["base", "19", "20"]


def test_a_running_stage_has_its_share_and_time_left() -> None:
    progress = [StageProgress(stage="TrainDefender", round=2, ratio=0.45, eta_seconds=4000)]
    shown = drawn(progress_bars(sample.status(progress=progress), 80), 80)
    assert "round 2 TrainDefender" in shown
    assert "45% about 1 h 06 min left" in shown


def test_a_plain_view_tells_each_tenth_once() -> None:
    console = Console(file=io.StringIO(), width=80)
    view = PlainView(console, "tiny")
    for ratio in (0.05, 0.12, 0.15, 0.31):
        view.update(sample.status(progress=[StageProgress(stage="Attack", round=1, ratio=ratio)]), Observed())
    assert console.file.getvalue().splitlines() == ["tiny", "round 1 Attack 12%", "round 1 Attack 31%"]  # type: ignore[attr-defined]
