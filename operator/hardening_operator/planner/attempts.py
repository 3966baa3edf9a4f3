"""The planner's book-keeping of stages: attempts, retries, disruptions, starts and stops.

How a stage moves (`Pending` waits for its next attempt):

    start -> Running -> Succeeded
               |  ^
               |  `--- Pending <--- failed, retried | disrupted
               |          ^
               |          `-------- Stopped <--- suspended
               `-> Failed: exit 64 or 65, a fatal failure, or more counted failures than backoffLimit

Failures are counted as attempts - disruptions. A disruption is what the shell reports as one, an attempt reported
Stopped, and an attempt that the planner asked to stop, unless it left with 64 or 65: one that was killed because it
did not save in time is not at fault. Disruptions are not bounded; `activeDeadlineSeconds` is for that.
The n-th counted failure of a stage is retried after 2^(n-1) times the base delay, at most 32 times it; a disrupted
stage at once.
An attempt the status knows but nobody observes is started again under its own number: starts are idempotent, so it
does not matter whether it was never started, is not visible yet, or has vanished without a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from hardening_api.run import HardeningRunSpec
from hardening_api.stages import FINAL_EXITS, STAGES, ExitCode, StageResult
from hardening_api.status import HardeningRunStatus, StageProgress, StageStatus
from hardening_operator.planner.conditions import shortened, timestamp
from hardening_operator.planner.figures import judges_differ, results_digest
from hardening_operator.planner.types import (
    Event,
    Failure,
    Observed,
    StageKey,
    StageObservation,
    StageStart,
    StageStop,
    Why,
)

RETRY_SECONDS = 10.0
"""Delay before the first retry of a stage that failed."""
LONGEST_DELAY = 32
"""The longest delay, in base delays."""


class Attempts:
    """The stages of a run while one decision is taken."""

    def __init__(
        self,
        spec: HardeningRunSpec,
        status: HardeningRunStatus,
        observed: Observed,
        now: datetime,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.spec = spec
        self.observed = observed
        self.now = now
        self.retry_seconds = retry_seconds
        self.may_start = True
        self.failure: Why | None = None
        """Reason and message, once a stage has failed for good."""
        self.events: list[Event] = []
        self.starts: list[StageStart] = []
        self.stages = {StageKey(entry.round, stage.stage): stage for entry in status.entries for stage in entry.stages}

    def take_in(self, key: StageKey) -> tuple[StageResult, ...]:
        """Take in what is observed of a stage; return its results when they have just come in, whole and usable.

        What belongs to an attempt already dealt with is passed over, so repeated and late observations change nothing.
        """
        seen = self.observed.stages.get(key)
        if seen is None:
            return ()
        failure = _result_problem(self.spec, seen) if seen.state == "Succeeded" else seen.failure
        whole = seen.state == "Succeeded" and failure is None
        stage = self.stages.get(key) or self._adopted(seen)
        if stage.state == "Succeeded" and whole:
            self._compare_with_record(key, stage, seen)
        if stage.state in ("Succeeded", "Failed"):
            return ()
        if seen.attempt > stage.attempts:
            stage = stage.model_copy(update={"attempts": seen.attempt, "state": "Running", "retry_time": None})
        self.stages[key] = stage
        if whole:
            self._succeed(key, seen)
            return seen.results
        if seen.state != "Running" and seen.attempt == stage.attempts and stage.state != "Pending":
            self._end_attempt(key, seen, failure or Failure(None, "StageLost", "the stage ended and left no result"))
        return ()

    def start(self, key: StageKey) -> None:
        """Ask for a stage's current attempt, or its next one when it is due, unless it is observed running."""
        seen = self.observed.stages.get(key)
        if not self.may_start or (seen is not None and seen.state == "Running"):
            return
        stage = self.stages.get(key)
        if stage is None:
            stage = StageStatus(stage=key.stage, state="Pending", start_time=timestamp(self.now))
        if stage.retry_time is not None and datetime.fromisoformat(stage.retry_time) > self.now:
            return
        if stage.state == "Pending":
            stage = stage.model_copy(update={"attempts": stage.attempts + 1, "retry_time": None})
            self.tell("Normal", "StageStarted", f"{key}: attempt {stage.attempts}")
        self.stages[key] = stage.model_copy(update={"state": "Running"})
        self.starts.append(StageStart(key, stage.attempts))

    def succeeded(self, key: StageKey) -> bool:
        """Return whether a stage is done."""
        return key in self.stages and self.stages[key].state == "Succeeded"

    def hold(self, reason: str) -> None:
        """Mark every running stage as stopped."""
        for key, stage in self.stages.items():
            if stage.state == "Running":
                self.stages[key] = stage.model_copy(update={"state": "Stopped", "reason": reason})

    def stops(self, ended: bool) -> tuple[StageStop, ...]:
        """Return the observed running stages that must not run: all when the run has ended, else the stopped ones."""
        return tuple(
            StageStop(key)
            for key in self._running()
            if ended or (key in self.stages and self.stages[key].state == "Stopped")
        )

    def next_retry(self) -> float | None:
        """Return the seconds until the next stage that failed may be started again."""
        times = [stage.retry_time for stage in self.stages.values() if stage.retry_time is not None]
        waits = [(datetime.fromisoformat(time) - self.now).total_seconds() for time in times]
        return max(0.0, min(waits)) if waits and self.may_start else None

    def progress(self) -> list[StageProgress]:
        """Return how far the running stages are."""
        found = []
        for key in self._running():
            part = self.observed.stages[key].progress
            if part is not None and key in self.stages and self.stages[key].state == "Running":
                found.append(
                    StageProgress(stage=key.stage, round=key.round, ratio=part.ratio, eta_seconds=part.eta_seconds)
                )
        return found[:4]

    def tell(self, kind: Any, reason: str, message: str) -> None:
        """Add an event."""
        self.events.append(Event(kind, reason, shortened(message)))

    def _running(self) -> list[StageKey]:
        running = [key for key, seen in self.observed.stages.items() if seen.state == "Running"]
        return sorted(running, key=lambda key: key.order)

    def _adopted(self, seen: StageObservation) -> StageStatus:
        since = timestamp(seen.started_at or self.now)
        return StageStatus(stage=seen.key.stage, state="Running", attempts=seen.attempt, start_time=since)

    def _compare_with_record(self, key: StageKey, stage: StageStatus, seen: StageObservation) -> None:
        """Fail when the defender is no longer the one whose figures were, or will be, taken."""
        digest = results_digest(seen.results)
        if key.stage == "TrainDefender" and digest != stage.digest:
            text = (
                f"{key}: the checkpoint was {stage.digest} when it was evaluated and is {digest} now: start a new run"
            )
            self.failure = Why("CandidateChanged", text)

    def _succeed(self, key: StageKey, seen: StageObservation) -> None:
        stage = self.stages[key]
        ended = seen.ended_at or self.now
        first = seen.started_at if stage.attempts == 1 else None
        begun = first or datetime.fromisoformat(stage.start_time or timestamp(ended))
        self.stages[key] = stage.model_copy(
            update={
                "state": "Succeeded",
                "completion_time": timestamp(ended),
                "seconds": max(0.0, (ended - begun).total_seconds()),
                "tokens": sum(result.tokens for result in seen.results),
                "reason": None,
                "message": None,
                "digest": results_digest(seen.results),
            }
        )
        self.tell("Normal", "StageSucceeded", f"{key}: succeeded on attempt {stage.attempts}")

    def _end_attempt(self, key: StageKey, seen: StageObservation, failure: Failure) -> None:
        stage = self.stages[key]
        asked = stage.state == "Stopped" and failure.exit_code not in FINAL_EXITS
        excused = seen.state == "Stopped" or failure.disruption or asked
        disruptions = stage.disruptions + excused
        counted = stage.attempts - disruptions
        hopeless = failure.fatal or failure.exit_code in FINAL_EXITS
        fatal = not excused and (hopeless or counted > self.spec.backoff_limit)
        update: dict[str, Any] = {
            "state": "Failed" if fatal else "Pending",
            "disruptions": disruptions,
            "reason": failure.reason,
            "message": shortened(failure.message),
            "retry_time": None if excused or fatal else self._retry_time(counted),
        }
        if fatal:
            update["completion_time"] = timestamp(seen.ended_at or self.now)
        self.stages[key] = stage.model_copy(update=update)
        exit_code = "without an exit code" if failure.exit_code is None else f"with exit code {failure.exit_code}"
        text = f"{key}: attempt {stage.attempts} ended {exit_code}: {failure.message}"
        if fatal:
            self.failure = Why(failure.reason, f"{text} ({counted} failures, backoffLimit {self.spec.backoff_limit})")
        elif excused:
            self.tell("Normal", "StageDisrupted", f"{text} (not counted)")
        else:
            self.tell("Warning", "StageRetried", f"{text} ({counted} failures, backoffLimit {self.spec.backoff_limit})")

    def _retry_time(self, failures: int) -> str | None:
        """When a stage is due again after its ``failures``-th failure, or None when that is now."""
        seconds = self.retry_seconds * min(2 ** (failures - 1), LONGEST_DELAY)
        return timestamp(self.now + timedelta(seconds=seconds)) if seconds else None


def _result_problem(spec: HardeningRunSpec, seen: StageObservation) -> Failure | None:
    """Return why a stage that ended well still cannot be built on, or None."""
    results: Sequence[StageResult] = seen.results
    key, count = seen.key, spec.stages.shards_of(seen.key.stage)
    whole = {
        result.shard.index
        for result in results
        if result.outcome == "Succeeded"
        and (result.stage, result.round, result.shard.count) == (key.stage, key.round, count)
        and result.manifest is not None
        and getattr(result, STAGES[key.stage].reports) is not None
    }
    if len(results) != count or len(whole) != count:
        return Failure(None, "ResultMissing", f"{len(whole)} of {count} shards reported a whole result")
    judge = judges_differ(results)
    if judge is not None:
        text = f"judge {judge} is not the same on all shards: run every shard with one image and one judge"
        return Failure(ExitCode.DATA, "JudgesDiffer", text)
    return None
