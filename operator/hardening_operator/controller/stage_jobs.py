"""What is made for a stage and what is taken away: the starts and stops of a decision, carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from hardening_api.run import HardeningRun
from hardening_api.status import TERMINAL_PHASES, HardeningRunStatus
from hardening_operator.controller.apply import RefusedError, apply_owned, together
from hardening_operator.controller.runtime.api import Api
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.queue import RUN, Key
from hardening_operator.controller.runtime.views import JobView, PodView, job_view
from hardening_operator.planner.stage_configs import run_identity, stage_configs
from hardening_operator.planner.types import Decision, Failure, StageKey, StageStart
from hardening_operator.resources import child_name, run_children, stage_children, workspace_url
from hardening_operator.settings import OperatorSettings

WAIT_SECONDS = 2.0
"""How long to wait before looking again whether an earlier attempt has ended."""
LINGERING = timedelta(minutes=5)
"""For so long the pods of a Job that has ended keep the next attempt waiting; a pod on a lost node never goes."""


class Children:
    """Creates and deletes the children of runs."""

    def __init__(self, api: Api, cache: Cache, settings: OperatorSettings) -> None:
        self._api, self._cache, self._settings = api, cache, settings
        self._prepared: set[str] = set()
        self._deleted: dict[str, set[str]] = {}
        self._rejected: dict[str, dict[tuple[StageKey, int], Failure]] = {}

    def rejected(self, uid: str) -> Mapping[tuple[StageKey, int], Failure]:
        """Return the attempts of a run whose objects the API server refused."""
        return self._rejected.get(uid, {})

    def forget(self, uid: str) -> None:
        """Forget a run that is gone."""
        self._prepared.discard(uid)
        self._deleted.pop(uid, None)
        self._rejected.pop(uid, None)

    async def carry_out(self, run: HardeningRun, decision: Decision, now: datetime) -> float | None:
        """Delete the Jobs that must not run and create what is started.

        Returns the seconds after which to look again when something is in the way; raises ApiError when the API server
        cannot do it now.
        """
        key, uid = _identity(run)
        jobs = self._cache.jobs(key, now)
        deleted = self._deleted.setdefault(uid, set())
        for job in unwanted(uid, jobs, decision.status):
            if job.uid not in deleted:
                await self._api.delete("Job", key.namespace, job.name, job.uid)
                deleted.add(job.uid)
        waits, due = [], []
        pods = self._cache.pods(key) if decision.start else []
        for start in decision.start:
            name = child_name(run.metadata.name, start.key, start.attempt)
            if any(job.name == name and job.owner_uid == uid and not job.deleting for job in jobs):
                continue
            if in_the_way(uid, name, start, jobs, pods, now):
                waits.append(WAIT_SECONDS)
            else:
                due.append(start)
        made = await together(*(self._start(run, start, decision.status) for start in due))
        return min((*waits, *(0.0 for well in made if not well)), default=None)

    async def _start(self, run: HardeningRun, start: StageStart, status: HardeningRunStatus) -> bool:
        """Create the objects of an attempt; return False when the API server refuses one, which is remembered."""
        key, uid = _identity(run)
        try:
            configs = stage_configs(run.spec, run_identity(run), status, start.key, workspace_url(run))
            own = run_children(run, self._settings) if uid not in self._prepared else []
            *before, last = stage_children(run, self._settings, start.key, start.attempt, configs)
            # The Job's pods need the rest, which is made at the same time: a stage waits for two calls and not for all.
            await together(*(apply_owned(self._api, document, uid) for document in (*own, *before)))
            job = job_view(await apply_owned(self._api, last, uid))
        except (RefusedError, ValueError) as refusal:
            text = f"{refusal}: correct the spec, the quota or the permission it names, then start a new run"
            failure = Failure(None, "CreateRejected", text, fatal=True)
            self._rejected.setdefault(uid, {})[start.key, start.attempt] = failure
            return False
        if job is not None:
            self._cache.applied_job(key, job)
        self._prepared.add(uid)
        return True


def unwanted(run_uid: str, jobs: Iterable[JobView], status: HardeningRunStatus) -> list[JobView]:
    """Return the unfinished Jobs that must not run: those of no current attempt, or of a stage that is not on."""
    entries = [entry for entry in (status.base, *status.rounds) if entry is not None]
    ended = status.phase in TERMINAL_PHASES
    current = {
        (StageKey(entry.round, stage.stage), stage.attempts)
        for entry in entries
        for stage in entry.stages
        if stage.state == "Running" and not ended
    }
    return [
        job
        for job in jobs
        if job.owner_uid == run_uid and not job.finished and not job.deleting and (job.key, job.attempt) not in current
    ]


def in_the_way(
    run_uid: str,
    name: str,
    start: StageStart,
    jobs: Sequence[JobView],
    pods: Iterable[PodView],
    now: datetime,
) -> bool:
    """Tell whether something must end before an attempt may start: two must never write one folder at a time.

    That is a Job of the same name, be it of an earlier run, or another attempt of the stage with its pods.
    """
    if any(job.name == name for job in jobs):
        return True
    others = [job for job in jobs if job.owner_uid == run_uid and job.key == start.key]
    lingering = {job.uid for job in others if job.ended is None or now - job.ended <= LINGERING}
    return any(not job.finished for job in others) or any(pod.alive and pod.job_uid in lingering for pod in pods)


def _identity(run: HardeningRun) -> tuple[Key, str]:
    return Key(RUN, run.metadata.namespace or "default", run.metadata.name), run.metadata.uid or ""
