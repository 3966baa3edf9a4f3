"""What is made for a monitor and what is taken away: a decision of its planner, carried out.

A check's Job comes first, and what it needs is the Job's own: both go together. Its pods wait for their config, so an
operator that dies in between leaves nothing undone: the next one makes what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from hardening_api.monitor import ActiveCheck, HardeningMonitor
from hardening_api.run import HardeningRun
from hardening_operator.controller.apply import REFUSALS, RefusedError, apply_owned
from hardening_operator.controller.observe import observe_attempt
from hardening_operator.controller.runtime.api import Api, ApiError
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.queue import MONITOR, Key
from hardening_operator.controller.runtime.views import JobView, PodView, job_view
from hardening_operator.controller.stage_jobs import LINGERING, WAIT_SECONDS
from hardening_operator.planner.check_config import check_config
from hardening_operator.planner.monitor_types import CheckObservation, MonitorDecision, RerunStart
from hardening_operator.planner.rerun import build_rerun
from hardening_operator.planner.types import Event, Failure
from hardening_operator.resources import (
    StageAttempt,
    check_attempt,
    check_children,
    job,
    monitor_children,
    shared_workspace,
    workspace_url,
)
from hardening_operator.settings import OperatorSettings

Runs = Mapping[str, HardeningRun]
Attempt = tuple[str, int]
"""A check's name and the number of the attempt."""
TRY_AGAIN_SECONDS = 60.0
"""How long to wait before a run that was refused is asked for again."""


@dataclass
class _Kept:
    """What is remembered of one monitor."""

    prepared: bool = False
    equipped: set[str] = field(default_factory=set)
    """Uids of Jobs that have all they need."""
    deleted: set[str] = field(default_factory=set)
    rejected: dict[Attempt, Failure] = field(default_factory=dict)

    def forget_all_but(self, active: ActiveCheck | None, jobs: Iterable[JobView]) -> None:
        """Forget Jobs that are gone, and refusals of checks that have ended."""
        uids = {found.uid for found in jobs}
        self.equipped &= uids
        self.deleted &= uids
        wanted = (active.name, active.attempt) if active is not None else None
        self.rejected = {attempt: failure for attempt, failure in self.rejected.items() if attempt == wanted}


class Checks:
    """Creates and deletes the Jobs of monitors, and creates the runs that they ask for."""

    def __init__(self, api: Api, cache: Cache, settings: OperatorSettings) -> None:
        self._api, self._cache, self._settings = api, cache, settings
        self._kept: dict[str, _Kept] = {}

    def forget(self, uid: str) -> None:
        """Forget a monitor that is gone."""
        self._kept.pop(uid, None)

    def observe(self, monitor: HardeningMonitor, now: datetime) -> dict[str, CheckObservation]:
        """Return how the newest attempt of each check fares."""
        key, uid = _identity(monitor)
        jobs = [found for found in self._cache.jobs(key, now) if found.owner_uid == uid]
        return observe_checks(jobs, self._cache.pods(key), self._of(uid).rejected, now, self._settings)

    async def carry_out(
        self, monitor: HardeningMonitor, decision: MonitorDecision, runs: Runs, now: datetime
    ) -> float | None:
        """Delete the Jobs that must not run, and have the one that must.

        Returns the seconds after which to look again when something is in the way; raises ApiError when the API server
        cannot do it now.
        """
        key, uid = _identity(monitor)
        kept, active = self._of(uid), decision.status.active
        jobs = self._cache.jobs(key, now)
        kept.forget_all_but(active, jobs)
        for found in unwanted(uid, jobs, active):
            if found.uid not in kept.deleted:
                await self._api.delete("Job", key.namespace, found.name, found.uid)
                kept.deleted.add(found.uid)
        if active is None:
            return None
        run = runs.get(active.run) if active.run is not None else None
        if active.run is not None and run is None:
            return None
        present = _job_of(active, uid, jobs)
        if present is not None and (present.finished or present.deleting or present.uid in kept.equipped):
            return None
        if present is None and decision.start is None:
            return None
        if present is None and in_the_way(active, jobs, self._cache.pods(key), now):
            return WAIT_SECONDS
        return await self._have(monitor, run, active, present)

    async def harden_again(self, monitor: HardeningMonitor, start: RerunStart) -> Event | None:
        """Create a rerun; return what to tell when the API server refuses it. One that exists is left as it is."""
        source = start.source
        workspace = shared_workspace(source, self._settings)
        document = build_rerun(start, monitor.metadata.name, workspace_url(source), workspace)
        try:
            await self._api.create(document)
        except ApiError as error:
            if error.status not in REFUSALS:
                raise
            text = f"the API server refused HardeningRun {start.rerun.name}: {error.message}"
            return Event("Warning", "RerunRejected", text)
        return None

    async def _have(
        self, monitor: HardeningMonitor, run: HardeningRun | None, check: ActiveCheck, present: JobView | None
    ) -> float | None:
        """Have a check's Job and what it needs; a refusal of the API server is remembered, and looked at at once."""
        key, uid = _identity(monitor)
        kept = self._of(uid)
        try:
            workspace = workspace_url(run if run is not None else monitor)
            config = check_config(monitor, check, run, workspace)
            attempt = check_attempt(monitor, run, self._settings, check, config)
            if not kept.prepared:
                for document in monitor_children(monitor, self._settings):
                    await apply_owned(self._api, document, uid)
                kept.prepared = True
            job_uid = present.uid if present is not None else await self._create(key, attempt, uid)
            for document in check_children(attempt, job_uid):
                await apply_owned(self._api, document, job_uid)
            kept.equipped.add(job_uid)
        except (RefusedError, ValueError) as refusal:
            text = f"{refusal}: correct the spec, the quota or the permission it names; the next check tries again"
            kept.rejected[check.name, check.attempt] = Failure(None, "CreateRejected", text, fatal=True)
            return 0.0
        return None

    async def _create(self, key: Key, attempt: StageAttempt, uid: str) -> str:
        answer = await apply_owned(self._api, job(attempt), uid)
        made = job_view(answer)
        if made is None or made.owner_uid != uid:
            raise RefusedError(f"Job {attempt.name} is another's")
        self._cache.applied_job(key, made)
        return made.uid

    def _of(self, uid: str) -> _Kept:
        return self._kept.setdefault(uid, _Kept())


def observe_checks(
    jobs: Sequence[JobView],
    pods: Sequence[PodView],
    rejected: Mapping[Attempt, Failure],
    now: datetime,
    settings: OperatorSettings,
) -> dict[str, CheckObservation]:
    """Return how the newest attempt of each check fares that one of ``jobs`` is, or that was ``rejected``."""
    found = {
        name: CheckObservation(name, "Failed", number, now, failure=failure)
        for (name, number), failure in rejected.items()
    }
    for job_of_check in jobs:
        name = job_of_check.check
        if name is None or (name in found and found[name].attempt >= job_of_check.attempt):
            continue
        own = [pod for pod in pods if pod.job_uid == job_of_check.uid]
        seen = observe_attempt(job_of_check, own, now, settings)
        state: Literal["Running", "Succeeded", "Failed"] = "Failed" if seen.state == "Stopped" else seen.state
        found[name] = CheckObservation(name, state, seen.attempt, seen.ended_at, seen.results, seen.failure)
    return found


def unwanted(uid: str, jobs: Iterable[JobView], active: ActiveCheck | None) -> list[JobView]:
    """Return the unfinished Jobs that must not run: all but the one of the active check's attempt."""
    wanted = (active.name, active.attempt) if active is not None else None
    return [
        found
        for found in jobs
        if found.owner_uid == uid and not (found.finished or found.deleting) and (found.check, found.attempt) != wanted
    ]


def in_the_way(check: ActiveCheck, jobs: Sequence[JobView], pods: Iterable[PodView], now: datetime) -> bool:
    """Tell whether something must end before a check may start: an earlier monitor's Job, or another with its pods."""
    if any((found.check, found.attempt) == (check.name, check.attempt) for found in jobs):
        return True
    lingering = {found.uid for found in jobs if found.ended is None or now - found.ended <= LINGERING}
    return any(not found.finished for found in jobs) or any(pod.alive and pod.job_uid in lingering for pod in pods)


def _job_of(check: ActiveCheck, uid: str, jobs: Iterable[JobView]) -> JobView | None:
    wanted = (check.name, check.attempt)
    return next((found for found in jobs if found.owner_uid == uid and (found.check, found.attempt) == wanted), None)


def _identity(monitor: HardeningMonitor) -> tuple[Key, str]:
    return Key(MONITOR, monitor.metadata.namespace or "default", monitor.metadata.name), monitor.metadata.uid or ""
