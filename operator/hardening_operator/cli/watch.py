"""`hardening watch`: follows a run of the cluster in the terminal until it rests, as a local run is followed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console

from hardening_api.status import TERMINAL_PHASES, HardeningRunStatus, StageStatus
from hardening_operator.cli.exit_codes import FAILED, INTERRUPTED, TIMED_OUT, exit_code
from hardening_operator.cli.kube.faults import ClusterFault
from hardening_operator.cli.kube.watch import Follower, Outage, TimedOut
from hardening_operator.cli.render.live_view import LiveView, PlainView, closing_words
from hardening_operator.cli.render.status_page import awaited, tell_next
from hardening_operator.cli.run_lookup import ClusterRunArgument, LocatedRun, faults_told, in_cluster, located_run
from hardening_operator.formatting import duration
from hardening_operator.planner.types import Event, Observed, StageKey

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Read a time as kubectl writes it: 90, 90s, 10m, 1h30m."""
    if not re.fullmatch(r"\d+|(\d+h)?(\d+m)?(\d+s)?", text) or not text:
        raise typer.BadParameter(f"got {text}: expected a time such as 90s, 10m or 1h30m")
    return float(sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([hms]?)", text)))


Timeout = Annotated[
    float | None, typer.Option(parser=seconds, metavar="TIME", help="Leave with 124 after this time: 90s, 10m, 1h30m.")
]


def watch(
    called: typer.Context,
    name: ClusterRunArgument,
    timeout: Timeout = None,
    plain: bool = typer.Option(False, "--plain", help="Print one line per event instead of a live table."),
) -> None:
    """Follow RUN in the cluster until it has ended, is suspended or waits for a person.

    Exit codes: 0 promoted, 3 not promoted, 4 awaiting approval, 5 suspended, 1 failed or deleted, 2 usage or no
    access, 124 timed out.
    """
    with faults_told():
        follow_to_the_end(called, in_cluster(called, name), plain, timeout)


def follow_to_the_end(called: typer.Context, first: LocatedRun, plain: bool, timeout: float | None) -> None:
    """Show the run until it rests, then its figures, the decision and the next step; leave with its exit code."""
    console = Console()
    view_type = PlainView if plain or not console.is_terminal else LiveView
    title = f"{first.run.metadata.name}  {first.run.spec.model.uri}  {first.cluster.options if first.cluster else ''}"
    try:
        with view_type(console, title) as view:
            last = _follow(called, first, view, timeout)
    except KeyboardInterrupt:
        console.print(f"The run continues in the cluster. Watch again: {first.command('watch')}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except TimedOut:
        console.print(f"Still not at rest. Watch again: {first.command('watch')}", soft_wrap=True)
        raise typer.Exit(TIMED_OUT) from None
    if last is None:
        console.print(f"{first.run.metadata.name} was deleted.")
        raise typer.Exit(FAILED)
    console.print(closing_words(last.status, console.width), highlight=False)
    tell_next(console, last)
    raise typer.Exit(exit_code(last.status))


def _follow(called: typer.Context, first: LocatedRun, view: Any, timeout: float | None) -> LocatedRun | None:
    """Return the run at rest, or None when it was deleted."""
    if first.cluster is None:
        raise ClusterFault("expected a run in the cluster")
    deadline = None if timeout is None else time.monotonic() + timeout
    follower = Follower(first.cluster, "hardeningruns", time.monotonic, time.sleep, deadline)
    told, away = HardeningRunStatus(), False
    for seen in follower.follow(first.document):
        if isinstance(seen, Outage):
            if not away:
                view.event(Event("Warning", "Disconnected", f"{seen.reason} (tried again)"))
            away = True
            continue
        if away:
            view.event(Event("Normal", "Connected", "the cluster answers again"))
        located, away = located_run(called, first.cluster, seen), False
        for event in changes(told, located.status):
            view.event(event)
        told = located.status
        view.update(told, Observed())
        if at_rest(located):
            return located
    return None


def at_rest(located: LocatedRun) -> bool:
    """Return whether nothing will happen to the run by itself: it has ended, is suspended, or waits for a person.

    A status older than the spec, or than an approval, is not yet the operator's answer to it.
    """
    status, metadata = located.status, located.run.metadata
    if status.phase in TERMINAL_PHASES:
        return True
    if (metadata.generation or 0) > (status.observed_generation or 0):
        return False
    if status.phase == "AwaitingApproval":
        return not _is_answered(located)
    return status.phase == "Suspended"


def _is_answered(located: LocatedRun) -> bool:
    cluster, candidate = located.cluster, awaited(located.status)
    if cluster is None or candidate is None:
        return False
    try:
        approvals = cluster.list("promotionapprovals")
    except ClusterFault:
        return False  # who may not see approvals sees what the status says
    named = [(approval["spec"]["run"], approval["spec"]["candidate"]) for approval in approvals]
    return (located.run.metadata.name, candidate) in named


BAD = ("NotPromoted", "Fail", "Rejected")


def changes(before: HardeningRunStatus, after: HardeningRunStatus) -> Iterator[Event]:
    """Yield what changed, in order: stages first, then what was decided on them."""
    known = _stages(before)
    for key, stage in _stages(after).items():
        old = known.get(key)
        if old is None or (old.state, old.attempts) != (stage.state, stage.attempts):
            yield _stage_change(key, stage)
    for decision in after.decisions[len(before.decisions) :]:
        kind = "Warning" if decision.decision in BAD else "Normal"
        yield Event(kind, decision.decision, decision.message)  # type: ignore[arg-type]
    if after.phase == "Suspended" != before.phase:
        yield Event("Normal", "Suspended", "running stages save and end")
    elif before.phase == "Suspended" != after.phase:
        yield Event("Normal", "Resumed", "the run continues")


def _stages(status: HardeningRunStatus) -> dict[StageKey, StageStatus]:
    return {StageKey(entry.round, stage.stage): stage for entry in status.entries for stage in entry.stages}


def _stage_change(key: StageKey, stage: StageStatus) -> Event:
    why = f": {stage.reason}: {stage.message}" if stage.reason else ""
    match stage.state:
        case "Succeeded":
            took = "" if stage.seconds is None else f" in {duration(stage.seconds)}"
            return Event("Normal", "StageSucceeded", f"{key}: succeeded on attempt {stage.attempts}{took}")
        case "Failed":
            return Event("Warning", "StageFailed", f"{key}: attempt {stage.attempts} failed{why}")
        case "Pending":
            return Event("Warning", "StageRetried", f"{key}: attempt {stage.attempts} ended{why}")
        case "Stopped":
            return Event("Normal", "StageStopped", f"{key}: saves and ends")
        case _:
            return Event("Normal", "StageStarted", f"{key}: attempt {stage.attempts}")
