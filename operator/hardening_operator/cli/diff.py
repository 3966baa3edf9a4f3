"""`hardening diff`: two runs side by side: what was asked differently, and whether the figures differ."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hardening_operator.cli.comparison import Comparison, comparisons, spec_differences
from hardening_operator.cli.run_lookup import RunArgument, Subject, faults_told, find_run
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


def _spec_table(one: Subject, other: Subject) -> Table | Text:
    differing = list(spec_differences(one.run.to_document()["spec"], other.run.to_document()["spec"]))
    if not differing:
        return Text("The specs are the same.")
    table = _table("spec", one, other)
    for path, before, after in differing:
        table.add_row(escape(path), _value(before), _value(after))
    return table


def _figures_table(one: Subject, other: Subject) -> Table | Text:
    rows = list(comparisons(one.status, other.status))
    if not rows:
        return Text("Neither run has figures yet.")
    table = _table(f"{_round(one)} and {_round(other)}", one, other)
    table.add_column("beyond", no_wrap=True)
    for row in rows:
        table.add_row(_what(row), _rate(row, 0), _rate(row, 1), MARKS[row.beyond])
    return table


def _round(subject: Subject) -> str:
    entry = subject.status.headline_round
    return "no round yet" if entry is None else round_name(entry.round)


def _table(title: str, one: Subject, other: Subject) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(title, overflow="fold")
    for subject in (one, other):
        table.add_column(Text(subject.run.metadata.name), overflow="fold")
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
