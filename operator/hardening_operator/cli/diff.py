"""`hardening diff`: two runs side by side: what was asked differently, and whether the figures differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hardening_api.stats import newcombe
from hardening_api.status import EvaluationFigures, HardeningRunStatus, Rate
from hardening_operator.cli.run_lookup import LocatedRun, RunArgument, faults_told, find_run
from hardening_operator.formatting import rate_text
from hardening_operator.planner.types import round_name

LONGEST_VALUE = 60
MARKS = {None: "", False: "no", True: "yes"}


def diff(called: typer.Context, first: RunArgument, second: RunArgument) -> None:
    """Compare two runs: fields of the spec that differ, and the promoted or last candidates' figures with intervals."""
    with faults_told():
        one, other = find_run(called, first), find_run(called, second)
        console = Console()
        console.print(_spec_table(one, other))
        console.print(_figures_table(one, other))
        console.print(_legend(), soft_wrap=False)


def _spec_table(one: LocatedRun, other: LocatedRun) -> Table | Text:
    differing = list(spec_differences(one.run.to_document()["spec"], other.run.to_document()["spec"]))
    if not differing:
        return Text("The specs are the same.")
    table = _table("spec", one, other)
    for path, before, after in differing:
        table.add_row(escape(path), _value(before), _value(after))
    return table


def _figures_table(one: LocatedRun, other: LocatedRun) -> Table | Text:
    rows = list(comparisons(one.status, other.status))
    if not rows:
        return Text("Neither run has figures yet.")
    table = _table(f"{_round(one)} and {_round(other)}", one, other)
    table.add_column("beyond", no_wrap=True)
    for row in rows:
        table.add_row(_what(row), _rate(row, 0), _rate(row, 1), MARKS[row.beyond])
    return table


def _round(located: LocatedRun) -> str:
    entry = located.status.headline_round
    return "no round yet" if entry is None else round_name(entry.round)


def _table(title: str, one: LocatedRun, other: LocatedRun) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(title, overflow="fold")
    for located in (one, other):
        table.add_column(Text(located.run.metadata.name), overflow="fold")
    return table


def _what(row: Comparison) -> str:
    return f"{row.measure}, {row.set} ({row.judge})"


def _rate(row: Comparison, side: int) -> str:
    return escape(rate_text(row.rates[side]))


def _value(value: Any) -> str:
    text = "-" if value is None else json.dumps(value, ensure_ascii=False)
    return escape(text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "...")


def _legend() -> Text:
    words = (
        "beyond: the 95 % interval of the difference, from both intervals (Newcombe 1998), does not hold zero. "
        "Runs on other prompts, judges or attackers are compared as independent samples."
    )
    return Text(words, style="dim")


MEASURES = {
    "harm_rate": "harm rate",
    "attack_success_rate": "attack success rate",
    "win_rate": "win rate",
    "over_refusal": "over-refusal",
}


@dataclass(frozen=True)
class Comparison:
    """One figure of two runs; a rate is None where a run does not have it."""

    measure: str
    set: str
    judge: str
    rates: tuple[Rate | None, Rate | None]

    @property
    def beyond(self) -> bool | None:
        """Whether the difference is beyond its 95 % interval; None when a run lacks the figure."""
        one, other = self.rates
        if one is None or other is None:
            return None
        difference = newcombe(other, one)
        return difference.lower > 0 or difference.upper < 0


def comparisons(one: HardeningRunStatus, other: HardeningRunStatus) -> Iterator[Comparison]:
    """Yield every figure that either run has, by evaluation set and judge; figures of two judges are never compared."""
    sides = (_figures(one), _figures(other))
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        for field, measure in MEASURES.items():
            before, after = (getattr(side[key], field) if key in side else None for side in sides)
            if before is not None or after is not None:
                yield Comparison(measure, key[0], key[1], (before, after))


def _figures(status: HardeningRunStatus) -> dict[tuple[str, str], EvaluationFigures]:
    entry = status.headline_round
    return {(figures.set, figures.judge): figures for figures in entry.evaluations} if entry else {}


def spec_differences(one: Any, other: Any, path: str = "spec") -> Iterator[tuple[str, Any, Any]]:
    """Yield path, value and other value of every field that differs; None stands for an absent one."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys([*one, *other]):
            yield from spec_differences(one.get(name), other.get(name), f"{path}.{name}")
    elif isinstance(one, list) and isinstance(other, list):
        for index in range(max(len(one), len(other))):
            before, after = (values[index] if index < len(values) else None for values in (one, other))
            yield from spec_differences(before, after, f"{path}[{index}]")
    elif one != other:
        yield path, one, other
