"""Where a run stands, on one page of a terminal, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hardening_api.status import HardeningRunStatus, StageProgress, StageStatus
from hardening_operator.cli.render.live_view import figures_table, phase_text, time_left
from hardening_operator.cli.run_lookup import LocatedRun
from hardening_operator.formatting import duration
from hardening_operator.planner.types import round_of

STAGES_SHOWN = 24
EVENTS_SHOWN = 6
BAR_WIDTH = 8
STATE_COLORS = {"Succeeded": "green", "Failed": "red", "Running": "cyan", "Stopped": "yellow"}


def page(located: LocatedRun, events: Sequence[dict[str, Any]], width: int, now: datetime) -> RenderableType:
    """Return the page up to the next command: phase, figures, stages, conditions, events."""
    status = located.status
    parts: list[RenderableType] = [_head(located, now)]
    if any(entry.evaluations for entry in status.entries):
        parts.append(figures_table(status, width))
    if any(entry.stages for entry in status.entries):
        parts.append(_titled("Stages", _stages(status)))
    if status.conditions:
        parts.append(_titled("Conditions", _conditions(status)))
    if events:
        parts.append(_titled("Last events", _events(events, now)))
    return Group(*parts)


def show(console: Console, located: LocatedRun, events: Sequence[dict[str, Any]], now: datetime) -> None:
    """Print the page, and the next command in one piece, so that it can be copied."""
    console.print(page(located, events, console.width, now), highlight=False)
    console.print(Text("\nNext", style="bold"))
    tell_next(console, located)


def tell_next(console: Console, located: LocatedRun) -> None:
    """Print the next thing to do, a line each, never broken."""
    for step in _steps(located):
        console.print(f" {step}", soft_wrap=True, highlight=False, markup=False)


def _titled(title: str, what: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", style="bold"), Padding(what, (0, 0, 0, 1)))


def _head(located: LocatedRun, now: datetime) -> RenderableType:
    run, status = located.run, located.status
    where = f" in namespace {located.cluster.namespace}" if located.cluster is not None else ""
    first = Text.assemble((run.metadata.name, "bold"), f"{where}: ", phase_text(status.phase))
    lines = [first, Text(f"model {run.spec.model.uri}, {round_of(status.round, run.spec.rounds)}", overflow="fold")]
    if status.start_time is not None:
        began = datetime.fromisoformat(status.start_time)
        ended = datetime.fromisoformat(status.completion_time) if status.completion_time else now
        spent = duration((ended - began).total_seconds())
        lines.append(Text(f"started {began:%Y-%m-%d %H:%M} UTC, {'took' if status.completion_time else 'for'} {spent}"))
    return Group(*lines)


def _stages(status: HardeningRunStatus) -> RenderableType:
    rows = [(entry.round, stage) for entry in status.entries for stage in entry.stages]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for title in ("round", "stage", "state"):
        table.add_column(title, no_wrap=True)
    table.add_column("attempts", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for number, stage in rows[-STAGES_SHOWN:]:
        running = [part for part in status.progress if (part.round, part.stage) == (number, stage.stage)]
        state = Text(stage.state, style=STATE_COLORS.get(stage.state, ""))
        where = "base" if number == 0 else str(number)
        table.add_row(where, stage.stage, state, str(stage.attempts), _how(stage, running))
    hidden = len(rows) - STAGES_SHOWN
    return Group(Text(f"({hidden} earlier ones: -o yaml)", style="dim"), table) if hidden > 0 else table


def _how(stage: StageStatus, running: Sequence[StageProgress]) -> RenderableType:
    """Say how long a stage took, how far it is, or what went wrong."""
    if stage.state == "Running" and running:
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=running[0].ratio, width=BAR_WIDTH)
        share = Text.assemble(f"{running[0].ratio:.0%} ", (time_left(running[0]), "dim"), no_wrap=True)
        grid.add_row(bar, share)
        return grid
    words = []
    if stage.seconds is not None:
        words.append(duration(stage.seconds))
    if stage.disruptions:
        words.append(f"disrupted {stage.disruptions} times" if stage.disruptions > 1 else "disrupted once")
    if stage.reason is not None:
        words.append(stage.reason)
    return Text(", ".join(words))


def _conditions(status: HardeningRunStatus) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for condition in status.conditions:
        words = condition.reason if not condition.message else f"{condition.reason}: {condition.message}"
        table.add_row(condition.type, condition.status, Text(words))
    return table


def _events(events: Sequence[dict[str, Any]], now: datetime) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for event in sorted(events, key=event_time)[-EVENTS_SHOWN:]:
        ago = duration(max(0.0, (now - event_time(event)).total_seconds()))
        times = event.get("count") or 1
        words = f"{event.get('reason', '')}: {event.get('message', '')}{f' ({times} times)' if times > 1 else ''}"
        table.add_row(f"{ago} ago", Text(words, style="yellow" if event.get("type") == "Warning" else ""))
    return table


def event_time(event: dict[str, Any]) -> datetime:
    """Return when an event last happened."""
    given = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(given)


def _steps(located: LocatedRun) -> Iterator[str]:
    status = located.status
    candidate = awaited(status)
    match status.phase:
        case "AwaitingApproval" if candidate is not None:
            yield located.command("approve", "--digest", candidate)
            yield f"{located.command('report')}  (the figures)"
        case "Promoted":
            yield located.command("report")
        case "Failed" | "NotPromoted" if located.cluster is not None:
            yield located.command("logs" if status.phase == "Failed" else "report")
            yield f"{located.command('retry')}  (a new run of the same spec)"
        case "Failed" | "NotPromoted":
            yield located.command("report")
        case "Suspended":
            yield located.command("resume") if located.cluster is not None else "set suspend: false, and run it again"
        case "Pending" if located.cluster is not None and not status.conditions:
            yield "no operator has seen it yet: is hardening-operator installed, and does it watch this namespace?"
        case _ if located.cluster is not None:
            yield located.command("watch")
        case _:
            yield "rerun the same `hardening run` command to resume"


def awaited(status: HardeningRunStatus) -> str | None:
    """Return the digest of the candidate a person is asked about; None when no one is."""
    asked = [entry.round for entry in status.decisions if entry.decision == "AwaitApproval"]
    if status.phase != "AwaitingApproval" or not asked:
        return None
    return next((entry.candidate for entry in status.rounds if entry.round == asked[-1]), None)
