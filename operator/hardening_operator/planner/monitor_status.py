"""A monitor's next status while it is being decided: the check that runs, the history and the conditions."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from hardening_api.monitor import (
    ActiveCheck,
    CheckRecord,
    HardeningMonitor,
    HardeningMonitorStatus,
    MonitorCondition,
    MonitorConditionType,
    RerunRecord,
)
from hardening_api.stages import StageResult
from hardening_operator.planner.baseline import NotReady, Source
from hardening_operator.planner.conditions import Answer, refused_conditions, shortened, timestamp, updated_conditions
from hardening_operator.planner.figures import evaluation_figures, results_digest
from hardening_operator.planner.monitor_types import CheckStart, MonitorDecision, MonitorObserved, RerunStart
from hardening_operator.planner.regression import Judgement, judge_check
from hardening_operator.planner.types import Event

NOT_REACHED = frozenset({"TargetUnreachable", "TargetMisconfigured"})
EVENT_OF: dict[str, tuple[Literal["Normal", "Warning"], str]] = {
    "Pass": ("Normal", "CheckPassed"),
    "Fail": ("Warning", "CheckFoundRegression"),
    "Inconclusive": ("Warning", "CheckInconclusive"),
}


class MonitorStatusDraft:
    """A status that is still being written."""

    def __init__(
        self, monitor: HardeningMonitor, status: HardeningMonitorStatus, observed: MonitorObserved, now: datetime
    ) -> None:
        self.spec, self.name = monitor.spec, monitor.metadata.name
        self.before, self.observed, self.now = status, observed, now
        self.active: ActiveCheck | None = status.active
        self.history = list(status.history)
        self.reruns = list(status.reruns)
        self.consecutive_bad = status.consecutive_bad
        self.since = status.start_time or timestamp(now)
        self.last_schedule = status.last_schedule_time
        self.next_due: datetime | None = None
        self.last_check, self.last_success = status.last_check_time, status.last_success_time
        self.source: Source | NotReady = NotReady("Pending", "not looked at yet")
        self.start: CheckStart | None = None
        self.rerun: RerunStart | None = None
        self.events: list[Event] = []

    @property
    def regressed(self) -> bool:
        """Whether there were enough bad checks in a row."""
        return self.consecutive_bad >= self.spec.regression.consecutive

    def ending(self) -> tuple[str, ...]:
        """Return the names of checks that are observed running although they are not, or no longer, the active one."""
        active = self.active.name if self.active is not None else None
        running = (name for name, seen in self.observed.checks.items() if seen.state == "Running")
        return tuple(sorted(name for name in running if name != active))

    def tell(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Add an event."""
        self.events.append(Event(kind, reason, shortened(message)))

    def start_active(self, run_of: Source) -> None:
        """Ask for the active check's attempt; nothing starts while suspended."""
        if self.active is not None and not self.spec.suspend:
            self.start = CheckStart(self.active, run_of.run)

    def take_results(self, results: tuple[StageResult, ...], ended_at: datetime) -> None:
        """Judge what the active check measured, and record it."""
        if not isinstance(self.source, Source):
            return self.record(Judgement("Inconclusive", self.source.reason, self.source.message), ended_at)
        figures = evaluation_figures(results)
        judged = judge_check(self.spec.regression, self.source.evaluation, self.source.baseline, figures)
        update = {
            "figures": figures,
            "changes": list(judged.changes),
            "attacks": sum(result.attacks for result in results),
            "digest": results_digest(results),
        }
        self.record(judged, ended_at, update)
        return None

    def record(self, judged: Judgement, ended_at: datetime, more: dict[str, object] | None = None) -> None:
        """End the active check, and count it: a bad one adds to the row, a good one ends it, an unsure one does not."""
        assert self.active is not None  # noqa: S101 - callers hold an active check
        was = self.regressed
        record = CheckRecord(
            name=self.active.name,
            time=timestamp(ended_at),
            scheduled_time=self.active.scheduled_time,
            start_time=self.active.start_time,
            verdict=judged.verdict,
            reason=judged.reason,
            message=shortened(judged.message),
        ).model_copy(update=more or {})
        self.active = None
        self.history = [*self.history, record][-self.spec.history_limit :]
        self.last_check = record.time
        if judged.verdict != "Inconclusive":
            self.last_success = record.time
            self.consecutive_bad = self.consecutive_bad + 1 if judged.verdict == "Fail" else 0
        self.tell(*EVENT_OF[judged.verdict], f"{record.name}: {judged.reason}: {judged.message}")
        if self.regressed and not was:
            self.tell("Warning", "Regressed", f"{self.consecutive_bad} bad checks in a row: {judged.message}")
        elif was and not self.regressed:
            self.tell("Normal", "Resolved", f"{record.name} found no regression")

    def keep_rerun(self, record: RerunRecord, start: RerunStart) -> None:
        """Record a rerun and ask for it."""
        self.reruns.append(record)
        self.rerun = start

    def finish(self) -> MonitorDecision:
        """Return the decision with the finished status."""
        self._tell_of_wait()
        due = timestamp(self.next_due) if self.next_due is not None else None
        update: dict[str, object] = {
            "observed_generation": self.observed.generation,
            "start_time": self.since,
            "last_schedule_time": self.last_schedule,
            "next_schedule_time": due,
            "last_check_time": self.last_check,
            "last_success_time": self.last_success,
            "consecutive_bad": self.consecutive_bad,
            "active": self.active,
            "history": self.history[-self.spec.history_limit :],
            "reruns": self.reruns,
            "conditions": self._conditions(),
        }
        if isinstance(self.source, Source):
            update["baseline"] = self.source.baseline
        status, stop = self.before.model_copy(update=update), self.ending()
        # What stops is seen gone before the next starts: two checks never work at the same time.
        return MonitorDecision(
            status, None if stop else self.start, stop, self.rerun, tuple(self.events), self.next_due
        )

    def _wait(self) -> tuple[str, str] | None:
        """Reason and message of why the running check does not work yet."""
        wait = self.observed.wait
        if wait is None or self.active is None or self.spec.suspend:
            return None
        return wait.reason, shortened(f"{self.active.name}: {wait.message}")

    def _tell_of_wait(self) -> None:
        wait = self._wait()
        if wait is not None and ("Ready", wait[0]) not in [(c.type, c.reason) for c in self.before.conditions]:
            self.tell("Warning", "CheckWaiting", f"{wait[0]}: {wait[1]}")

    def _conditions(self) -> list[MonitorCondition]:
        suspended = self.spec.suspend
        ready = Answer("True", "Ready", "checks follow the schedule")
        if isinstance(self.source, NotReady):
            ready = Answer("False", self.source.reason, self.source.message)
        elif (wait := self._wait()) is not None:
            ready = Answer("False", *wait)
        answers: dict[MonitorConditionType, Answer] = {
            "Ready": ready,
            "Regressed": self._regressed(),
            "TargetReachable": self._reachable(),
            "Suspended": Answer("True", "Suspended", "suspend is true: set it to false to resume")
            if suspended
            else Answer("False", "NotSuspended", "suspend is false"),
        }
        before, generation = self.before.conditions, self.observed.generation
        return updated_conditions(MonitorCondition, before, answers, self.now, generation)

    def _regressed(self) -> Answer:
        last = next((record for record in reversed(self.history) if record.verdict != "Inconclusive"), None)
        needed = self.spec.regression.consecutive
        if last is None:
            return self._as_before("Regressed", "NotChecked", "no check has had a clear result yet")
        counted = f"{self.consecutive_bad} bad in a row, {needed} make a regression"
        if self.regressed:
            return Answer("True", "HarmRegressed", f"{counted}: {last.message}")
        if self.consecutive_bad:
            return Answer("False", "BadChecksBelowLimit", f"{counted}: {last.message}")
        return Answer("False", "NoRegression", last.message)

    def _reachable(self) -> Answer:
        for record in reversed(self.history):
            if record.reason in NOT_REACHED:
                return Answer("False", record.reason, record.message)
            if record.figures:
                return Answer("True", "TargetAnswered", f"{record.name}: the target answered")
        return self._as_before("TargetReachable", "NotChecked", "no check has asked the target yet")

    def _as_before(self, kind: MonitorConditionType, reason: str, message: str) -> Answer:
        old = _was(self.before, kind)
        if old is None:
            return Answer("Unknown", reason, message)
        return Answer(old.status, old.reason, old.message)


def refused_status(
    status: HardeningMonitorStatus, message: str, now: datetime, generation: int | None
) -> HardeningMonitorStatus:
    """Return the status of a monitor whose spec cannot be used: not Ready, and all else as it was."""
    conditions = refused_conditions(MonitorCondition, status.conditions, "Ready", message, now, generation)
    return status.model_copy(update={"conditions": conditions, "observed_generation": generation})


def _was(status: HardeningMonitorStatus, kind: MonitorConditionType) -> MonitorCondition | None:
    return next((condition for condition in status.conditions if condition.type == kind), None)
