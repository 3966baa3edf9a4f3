"""What happened between two statuses of a run, told the way the embedded run tells it."""

from __future__ import annotations

from collections.abc import Iterator

from hardening_api.status import HardeningRunStatus, StageStatus
from hardening_operator.formatting import duration
from hardening_operator.planner.types import Event, StageKey

BAD = ("NotPromoted", "Fail", "Rejected")


def news(before: HardeningRunStatus, after: HardeningRunStatus) -> Iterator[Event]:
    """Yield what changed, in order: stages first, then what was decided on them."""
    known = _stages(before)
    for key, stage in _stages(after).items():
        old = known.get(key)
        if old is None or (old.state, old.attempts) != (stage.state, stage.attempts):
            yield _stage_news(key, stage)
    for decision in after.decisions[len(before.decisions) :]:
        kind = "Warning" if decision.decision in BAD else "Normal"
        yield Event(kind, decision.decision, decision.message)  # type: ignore[arg-type]
    if after.phase == "Suspended" != before.phase:
        yield Event("Normal", "Suspended", "running stages save and end")
    elif before.phase == "Suspended" != after.phase:
        yield Event("Normal", "Resumed", "the run goes on")


def _stages(status: HardeningRunStatus) -> dict[StageKey, StageStatus]:
    return {StageKey(entry.round, stage.stage): stage for entry in status.entries for stage in entry.stages}


def _stage_news(key: StageKey, stage: StageStatus) -> Event:
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
