"""Builds what the planners observe from cached Jobs, pods and approvals. Pure: functions of views."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from hardening_api.monitor import ActiveCheck
from hardening_api.stages import STAGES, StageResult
from hardening_api.status import HardeningRunStatus, StageProgress
from hardening_operator.controller.failures import (
    dead_end,
    failure_of_job,
    job_deleted,
    lost,
    newest_by_index,
    next_trouble,
    result_lost,
    result_of,
    waits_for,
)
from hardening_operator.controller.jobs import Attempt
from hardening_operator.controller.progress import published
from hardening_operator.controller.runtime.views import ApprovalView, JobView, PodView, ResourceView
from hardening_operator.planner.monitor_types import CheckObservation
from hardening_operator.planner.types import Approval, Failure, Observed, Pace, StageKey, StageObservation, Wait
from hardening_operator.settings import OperatorSettings

PATIENCE = timedelta(seconds=15)
"""How long a finished Job's pods may take to be seen finished: two watch streams are never in step."""


@dataclass(frozen=True)
class Seen:
    """All that the operator knows of one run."""

    run: ResourceView
    jobs: Sequence[JobView] = ()
    pods: Sequence[PodView] = ()
    approvals: Sequence[ApprovalView] = ()
    progress: Mapping[str, Pace] = field(default_factory=dict)
    """What running pods say, by uid."""
    rejected: Mapping[Attempt, Failure] = field(default_factory=dict)
    """Attempts whose objects the API server refused."""
    waits: Mapping[Attempt, Wait] = field(default_factory=dict)
    """Attempts that cannot be created for now."""
    created: Collection[Attempt] = ()
    """Attempts that had a Job when it was last looked."""

    @property
    def generation(self) -> int | None:
        """Generation of the spec."""
        generation: int | None = self.run.document["metadata"].get("generation")
        return generation


def observe(seen: Seen, status: HardeningRunStatus, now: datetime, settings: OperatorSettings) -> Observed:
    """Return the newest attempt of every stage, and the approval that counts.

    ``status`` is the stored one: progress moves in steps from what it says, and it names the candidate that waits.
    """
    stages = {
        key: StageObservation(key, "Failed", number, failure=why)
        for (key, number), why in seen.rejected.items()
        if isinstance(key, StageKey)
    }
    states = _states(status)
    waits: dict[StageKey, Wait] = {}
    for job in newest_jobs(seen):
        if job.key not in stages or stages[job.key].attempt <= job.attempt:
            pods = [pod for pod in seen.pods if pod.job_uid == job.uid]
            expected = states.get(job.key, ("", 0))[0] in ("Running", "Pending")
            found = observe_attempt(job, pods, now, settings, expected)
            wait = waits_for(job, pods, now, settings)
            waits |= {job.key: wait} if wait is not None else {}
            going_on = found.state == "Running" and not (job.deleting or job.finished)
            stages[job.key] = replace(found, progress=_progress(job, pods, seen, status)) if going_on else found
    for key, (state, number) in states.items():
        if key not in stages or stages[key].attempt < number:
            stages |= _without_job(key, number, state, seen, now)
    blocked = {key: wait for (key, _), wait in seen.waits.items() if isinstance(key, StageKey)}
    return Observed(stages, _approval(seen.approvals, status), seen.generation, waits | blocked)


@dataclass(frozen=True)
class SeenChecks:
    """All that the operator knows of one monitor's checks."""

    uid: str
    """Of the monitor."""
    jobs: Sequence[JobView]
    pods: Sequence[PodView]
    rejected: Mapping[Attempt, Failure]
    created: Collection[Attempt]
    """Attempts that had a Job when it was last looked."""


def seconds_to_next_trouble(
    jobs: Iterable[JobView], pods: Sequence[PodView], now: datetime, settings: OperatorSettings
) -> float | None:
    """Return the seconds until a Job has waited so long that the status is to say so, though no event tells."""
    found = (next_trouble(job, [pod for pod in pods if pod.job_uid == job.uid], now, settings) for job in jobs)
    return min((seconds for seconds in found if seconds is not None), default=None)


def wait_of_check(
    seen: SeenChecks, active: ActiveCheck | None, now: datetime, settings: OperatorSettings
) -> Wait | None:
    """Return what the active check's Job waits for."""
    for job in seen.jobs:
        if (
            active is not None
            and job.owner_uid == seen.uid
            and (job.check, job.attempt) == (active.name, active.attempt)
        ):
            return waits_for(job, [pod for pod in seen.pods if pod.job_uid == job.uid], now, settings)
    return None


def observe_checks(
    seen: SeenChecks, active: ActiveCheck | None, now: datetime, settings: OperatorSettings
) -> dict[str, CheckObservation]:
    """Return the newest attempt of each check; ``active`` is the one that should run."""
    expected = (active.name, active.attempt) if active is not None else None
    found = {
        name: CheckObservation(name, "Failed", number, now, failure=failure)
        for (name, number), failure in seen.rejected.items()
        if isinstance(name, str)
    }
    for job in seen.jobs:
        name = job.check
        if name is None or job.owner_uid != seen.uid or (name in found and found[name].attempt >= job.attempt):
            continue
        pods = [pod for pod in seen.pods if pod.job_uid == job.uid]
        one = observe_attempt(job, pods, now, settings, (name, job.attempt) == expected)
        state: Literal["Running", "Succeeded", "Failed"] = "Failed" if one.state == "Stopped" else one.state
        found[name] = CheckObservation(name, state, one.attempt, one.ended_at, one.results, one.failure)
    # Pods that outlive their Job still work on their check, whoever deleted it.
    for pod in seen.pods:
        if (
            isinstance(pod.task, str)
            and pod.task not in found
            and pod.alive(now)
            and (pod.task, pod.attempt) != expected
        ):
            found[pod.task] = CheckObservation(pod.task, "Running", pod.attempt)
    if active is not None and (active.name not in found or found[active.name].attempt < active.attempt):
        own = (pod for pod in seen.pods if pod.owner_uid == seen.uid)
        if expected in seen.created or any((pod.task, pod.attempt) == expected for pod in own):
            failure = job_deleted(active.name)
            found[active.name] = CheckObservation(active.name, "Failed", active.attempt, now, failure=failure)
    return found


def newest_jobs(seen: Seen) -> list[JobView]:
    """Return the Job of each stage's newest attempt; those of another run of the same name are none."""
    newest: dict[StageKey, JobView] = {}
    for job in seen.jobs:
        if job.owner_uid == seen.run.uid and (job.key not in newest or newest[job.key].attempt < job.attempt):
            newest[job.key] = job
    return list(newest.values())


def observe_attempt(
    job: JobView, pods: list[PodView], now: datetime, settings: OperatorSettings, expected: bool = False
) -> StageObservation:
    """Return how the attempt fares whose Job has these pods; ``expected`` is one that nobody asked to stop."""
    begun = min((pod.started for pod in pods if pod.started is not None), default=job.started)
    seen = StageObservation(job.key, "Running", job.attempt, begun)
    if job.complete:
        return _completed(job, pods, seen, now)
    if job.deleting and expected:
        return replace(seen, state="Failed", ended_at=now, failure=job_deleted(str(job.task)))
    # What the planner stopped still saves; once it is gone it is absent, and may start again under its number.
    if job.deleting:
        return seen
    if job.failed is not None:
        return _failed(job, pods, seen, now)
    failure = dead_end(job, pods, now, settings)
    if failure is not None:
        return replace(seen, state="Failed", ended_at=now, failure=failure)
    return seen


def _states(status: HardeningRunStatus) -> dict[StageKey, tuple[str, int]]:
    """Return state and attempt of every stage in a status."""
    entries = [entry for entry in (status.base, *status.rounds) if entry is not None]
    return {
        StageKey(entry.round, stage.stage): (stage.state, stage.attempts) for entry in entries for stage in entry.stages
    }


def _without_job(key: StageKey, number: int, state: str, seen: Seen, now: datetime) -> dict[StageKey, StageObservation]:
    """Return what is known of an attempt without a Job: one that was never created is absent."""
    pods = [pod for pod in seen.pods if pod.task == key]
    if state == "Stopped" and any(pod.alive(now) for pod in pods):
        return {key: StageObservation(key, "Running", number)}
    own = ((pod.task, pod.attempt) for pod in pods if pod.owner_uid == seen.run.uid)
    if state == "Running" and ((key, number) in seen.created or (key, number) in own):
        return {key: StageObservation(key, "Failed", number, ended_at=now, failure=job_deleted(str(key)))}
    return {}


def _completed(job: JobView, pods: list[PodView], seen: StageObservation, now: datetime) -> StageObservation:
    results = _results(job, pods)
    ended = job.ended or now
    if results is not None:
        return replace(seen, state="Succeeded", ended_at=ended, results=results)
    if now - ended <= PATIENCE:
        return seen
    return replace(seen, state="Failed", ended_at=ended, failure=result_lost(job))


def _failed(job: JobView, pods: list[PodView], seen: StageObservation, now: datetime) -> StageObservation:
    failure, ended = failure_of_job(job, pods), job.ended or now
    if failure is None and now - ended <= PATIENCE:
        return seen
    return replace(seen, state="Failed", ended_at=ended, failure=failure or lost(job))


def _results(job: JobView, pods: list[PodView]) -> tuple[StageResult, ...] | None:
    """Return the result of every shard, or None when one is missing."""
    found: dict[int, StageResult] = {}
    for pod in pods:
        result = result_of(pod) if pod.phase == "Succeeded" else None
        if result is not None:
            found[pod.index] = result
    wanted = range(_shards(job))
    if any(index not in found for index in wanted):
        return None
    return tuple(found[index] for index in wanted)


def _shards(job: JobView) -> int:
    """A training is one shard however many nodes work on it; the first of them reports."""
    return 1 if STAGES[job.key.stage].trains else job.pods


def _progress(job: JobView, pods: list[PodView], seen: Seen, status: HardeningRunStatus) -> Pace | None:
    current = newest_by_index(pods)
    shards = range(_shards(job))
    done = {index for index in shards if index in current and current[index].phase == "Succeeded"}
    uids = {index: current[index].uid for index in shards if index in current and index not in done}
    measured = {index: seen.progress[uid] for index, uid in uids.items() if uid in seen.progress}
    ratio = (len(done) + sum(each.ratio for each in measured.values())) / len(shards)
    left = [each.eta_seconds for each in measured.values() if each.eta_seconds is not None]
    known = Pace(ratio, max(left, default=None)) if measured or done else None
    return published(known, _told(status, job.key))


def _told(status: HardeningRunStatus, key: StageKey) -> StageProgress | None:
    return next((part for part in status.progress if (part.round, part.stage) == (key.round, key.stage)), None)


def _approval(approvals: Sequence[ApprovalView], status: HardeningRunStatus) -> Approval | None:
    """Return the newest approval of the candidate that waits; failing that, the newest of any."""
    awaited = next((entry.candidate for entry in status.rounds if entry.round == status.round), None)
    ordered = sorted(approvals, key=lambda approval: (approval.candidate == awaited, approval.created, approval.uid))
    if not ordered:
        return None
    newest = ordered[-1]
    decision: Literal["Approved", "Rejected"] = "Approved" if newest.decision == "Approved" else "Rejected"
    return Approval(newest.candidate, decision, newest.approver, newest.created)
