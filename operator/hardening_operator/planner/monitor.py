"""The monitor's decision core: `plan_monitor(monitor, status, observed, now)`. Pure, as the planner of runs is.

    due -> check runs -> Pass          the row of bad checks ends, the condition Regressed is False
                      |-> Fail         one more in the row; `consecutive` of them: Regressed, and a rerun if asked for
                      `-> Inconclusive counts for nothing: target unreachable, judge unwell, too few samples, ...

The schedule is CronJob's: of the times that passed, the last is made up for, if within `startingDeadlineSeconds`; while
a check runs, `Forbid` lets the next wait and `Replace` stops it; nothing starts while suspended.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from hardening_api.monitor import ActiveCheck, HardeningMonitor, HardeningMonitorStatus, RerunRecord
from hardening_operator.planner.baseline import NotReady, Source, source_of
from hardening_operator.planner.conditions import timestamp
from hardening_operator.planner.monitor_status import MonitorStatusDraft
from hardening_operator.planner.monitor_types import CheckObservation, MonitorDecision, MonitorObserved, RerunStart
from hardening_operator.planner.names import rerun_name
from hardening_operator.planner.regression import Judgement
from hardening_operator.planner.schedule import NeverDue, Schedule
from hardening_operator.planner.types import Failure

MAX_ATTEMPTS = 10
"""A check that was disrupted this often is given up until the next is due."""
ENDED = frozenset({"Promoted", "NotPromoted", "Failed"})


def plan_monitor(
    monitor: HardeningMonitor, status: HardeningMonitorStatus, observed: MonitorObserved, now: datetime
) -> MonitorDecision:
    """Decide what to do next.

    Args:
        monitor: What is wanted.
        status: What the last decision was, as stored; a fresh one for a new monitor.
        observed: What is, however old, repeated or incomplete.
        now: The time, aware.

    Returns:
        The status to store, then the check to start, those to stop, and the HardeningRun to create. Planning again
        with that status and the same observation changes nothing.
    """
    draft = MonitorStatusDraft(monitor, status, observed, now)

    # Where do the reruns stand, and whose promotion is the baseline?
    _follow_reruns(draft)
    draft.source = source_of(draft.spec, status.model_copy(update={"reruns": draft.reruns}), observed.runs)

    # Take in what the running check found.
    _take_in_check(draft)

    # Start what is due.
    _start_due_check(draft)

    # Harden again, when that is wanted and not too soon.
    _rerun(draft)
    return draft.finish()


def _follow_reruns(draft: MonitorStatusDraft) -> None:
    runs = draft.observed.runs
    for index, record in enumerate(draft.reruns):
        run = runs.get(record.name)
        if run is not None:
            phase = run.status.phase if run.status is not None else "Pending"
            draft.reruns[index] = record.model_copy(update={"phase": phase})


def _take_in_check(draft: MonitorStatusDraft) -> None:
    active = draft.active
    if active is None:
        return
    seen = draft.observed.checks.get(active.name)
    limit = draft.spec.active_deadline_seconds
    if seen is not None and seen.attempt >= active.attempt and seen.state != "Running":
        _end_attempt(draft, active, seen)
    elif limit is not None and draft.now - datetime.fromisoformat(active.start_time) >= timedelta(seconds=limit):
        text = f"{active.name}: it took longer than activeDeadlineSeconds ({limit})"
        draft.record(Judgement("Inconclusive", "DeadlineExceeded", text), draft.now)
    elif seen is None or seen.attempt < active.attempt:
        if isinstance(draft.source, NotReady):
            draft.record(Judgement("Inconclusive", draft.source.reason, draft.source.message), draft.now)
        else:
            draft.start_active(draft.source)


def _end_attempt(draft: MonitorStatusDraft, active: ActiveCheck, seen: CheckObservation) -> None:
    ended = seen.ended_at or draft.now
    failure = seen.failure or _result_problem(seen)
    if failure is None:
        draft.take_results(seen.results, ended)
    elif failure.disruption and not failure.fatal and seen.attempt < MAX_ATTEMPTS and isinstance(draft.source, Source):
        draft.active = active.model_copy(update={"attempt": seen.attempt + 1})
        draft.tell("Normal", "CheckDisrupted", f"{active.name}: attempt {seen.attempt}: {failure.message}")
        draft.start_active(draft.source)
    else:
        draft.record(Judgement("Inconclusive", failure.reason, failure.message), ended)


def _result_problem(seen: CheckObservation) -> Failure | None:
    whole = [
        result
        for result in seen.results
        if result.outcome == "Succeeded" and result.stage == "Evaluate" and result.manifest and result.evaluations
    ]
    if seen.state == "Succeeded" and len(whole) == len(seen.results) == 1:
        return None
    return Failure(None, "ResultMissing", "the check ended and left no whole result: read its log")


def _start_due_check(draft: MonitorStatusDraft) -> None:
    due = _due(draft)
    if due is None or isinstance(draft.source, NotReady) or draft.spec.suspend:
        return
    # The time is made up for when the running check has ended, if that is within the starting deadline.
    if draft.spec.concurrency_policy == "Forbid" and (draft.active is not None or draft.ending()):
        return
    if draft.active is not None:
        text = f"{draft.active.name}: the next check was due"
        draft.record(Judgement("Inconclusive", "Replaced", text), draft.now)
    run = draft.source.run
    draft.active = ActiveCheck(
        name=f"{draft.name}-{int(due.timestamp())}",
        scheduled_time=timestamp(due),
        start_time=timestamp(draft.now),
        run=run.metadata.name if run is not None else None,
    )
    draft.last_schedule = timestamp(due)
    draft.start_active(draft.source)
    draft.tell("Normal", "CheckStarted", f"{draft.active.name}: due at {timestamp(due)}")


def _due(draft: MonitorStatusDraft) -> datetime | None:
    """Return the time of the check to start now, if one is due; forget times that passed too long ago."""
    schedule = Schedule(draft.spec.schedule, draft.spec.time_zone)
    since = datetime.fromisoformat(draft.last_schedule or draft.since)
    asked = draft.observed.asked_at.replace(microsecond=0) if draft.observed.asked_at is not None else None
    try:
        draft.next_due = None if draft.spec.suspend else schedule.next_after(draft.now)
        latest = schedule.latest(since, draft.now)
    except NeverDue as never:
        draft.source = NotReady("InvalidSchedule", f"spec.schedule: {never}: expected a schedule with a next time")
        return None
    if asked is not None and asked <= draft.now and (draft.last_schedule is None or since < asked):
        return max(asked, latest or asked)  # one check serves both
    deadline = draft.spec.starting_deadline_seconds
    if latest is not None and deadline is not None and (draft.now - latest).total_seconds() > deadline:
        if not draft.spec.suspend:
            draft.last_schedule = timestamp(latest)
            text = f"the check due at {timestamp(latest)} could not start within {deadline} s and is left out"
            draft.tell("Warning", "CheckMissed", text)
        return None
    return latest


def _rerun(draft: MonitorStatusDraft) -> None:
    """Ask for the HardeningRuns that must exist: one that nobody has seen yet, or a new one."""
    unseen = next((record for record in draft.reruns if record.phase is None), None)
    if unseen is not None:
        source = draft.observed.runs.get(unseen.source)
        attacks = next((record.attacks for record in draft.history if record.name == unseen.check), 0)
        if source is not None:
            draft.rerun = RerunStart(unseen, source, attacks)
        return
    if draft.spec.on_regression != "Rerun" or not draft.regressed or draft.spec.suspend or not _may_rerun(draft):
        return
    run = draft.source.run if isinstance(draft.source, Source) else None
    bad = next((record for record in reversed(draft.history) if record.verdict != "Inconclusive"), None)
    if run is None or bad is None:
        return
    record = RerunRecord(
        name=rerun_name(draft.name, bad.name),
        time=timestamp(draft.now),
        check=bad.name,
        source=run.metadata.name,
    )
    draft.keep_rerun(record, RerunStart(record, run, bad.attacks))
    text = f"{record.name} hardens the promoted checkpoint of {record.source} again, with {bad.attacks} attacks"
    draft.tell("Warning", "RerunCreated", text)


def _may_rerun(draft: MonitorStatusDraft) -> bool:
    """Within the cap, after the cool-down, none running, and a bad check since the last one."""
    policy = draft.spec.rerun
    if not draft.reruns:
        return True
    last = draft.reruns[-1]
    since = datetime.fromisoformat(last.time)
    return (
        len(draft.reruns) < policy.max_reruns
        and draft.now - since >= timedelta(seconds=policy.cool_down_seconds)
        and all(record.phase in ENDED for record in draft.reruns)
        and draft.last_success is not None
        and datetime.fromisoformat(draft.last_success) > since
    )
