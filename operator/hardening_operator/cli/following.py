"""Follows a run of the cluster in the terminal until it rests, as the embedded run is followed."""

from __future__ import annotations

import time
from typing import Any

import typer
from rich.console import Console

from hardening_api.status import TERMINAL_PHASES, HardeningRunStatus
from hardening_operator.cli.exit_codes import FAILED, INTERRUPTED, TIMED_OUT, exit_code
from hardening_operator.cli.kube.faults import ClusterFault
from hardening_operator.cli.kube.watch import Follower, Outage, TimedOut
from hardening_operator.cli.render.live_view import LiveView, PlainView, closing_words
from hardening_operator.cli.render.status_events import news
from hardening_operator.cli.render.status_page import awaited, tell_next
from hardening_operator.cli.run_lookup import Subject, subject_of
from hardening_operator.planner.types import Event, Observed


def follow_to_the_end(called: typer.Context, first: Subject, plain: bool, timeout: float | None) -> None:
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


def _follow(called: typer.Context, first: Subject, view: Any, timeout: float | None) -> Subject | None:
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
        subject, away = subject_of(called, first.cluster, seen), False
        for event in news(told, subject.status):
            view.event(event)
        told = subject.status
        view.update(told, Observed())
        if at_rest(subject):
            return subject
    return None


def at_rest(subject: Subject) -> bool:
    """Return whether nothing will happen to the run by itself: it has ended, is suspended, or waits for a person.

    A status older than the spec, or than an approval, is not yet the operator's answer to it.
    """
    status, metadata = subject.status, subject.run.metadata
    if status.phase in TERMINAL_PHASES:
        return True
    if (metadata.generation or 0) > (status.observed_generation or 0):
        return False
    if status.phase == "AwaitingApproval":
        return not _is_answered(subject)
    return status.phase == "Suspended"


def _is_answered(subject: Subject) -> bool:
    cluster, candidate = subject.cluster, awaited(subject.status)
    if cluster is None or candidate is None:
        return False
    try:
        approvals = cluster.list("promotionapprovals")
    except ClusterFault:
        return False  # who may not see approvals sees what the status says
    named = [(approval["spec"]["run"], approval["spec"]["candidate"]) for approval in approvals]
    return (subject.run.metadata.name, candidate) in named
