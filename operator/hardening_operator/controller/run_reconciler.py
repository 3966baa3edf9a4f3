"""One look at one run, by the planner of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from hardening_api.run import HardeningRun
from hardening_api.status import TERMINAL_PHASES, HardeningRunStatus, RunCondition
from hardening_api.validation import validate_run
from hardening_operator.controller.jobs import Attempt, JobKeeper, JobObjects, WantedJob
from hardening_operator.controller.observe import Seen, observe, seconds_to_next_trouble
from hardening_operator.controller.reconciler import Listener, Outcome, Reconciler, outcome
from hardening_operator.controller.runtime.api import Api
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.views import ResourceView
from hardening_operator.planner.conditions import refused_conditions, shortened
from hardening_operator.planner.run import plan
from hardening_operator.planner.stage_configs import run_identity, stage_configs
from hardening_operator.planner.types import Decision, Pace, StageKey, StageStart
from hardening_operator.resources import run_objects, run_problems, stage_objects, workspace_url
from hardening_operator.settings import OperatorSettings


class RunReconciler(Reconciler):
    """Looks at runs."""

    def __init__(
        self,
        cache: Cache,
        api: Api,
        settings: OperatorSettings,
        clock: Callable[[], datetime],
        listener: Listener,
        progress: Mapping[str, Pace],
    ) -> None:
        super().__init__(cache, api, settings, clock, listener)
        self._progress = progress
        self._jobs = JobKeeper(api, cache)

    async def reconcile(self, resource: ResourceView) -> Outcome:
        """See `Reconciler`."""
        now = self._clock()
        try:
            status = HardeningRunStatus.model_validate(resource.status)
        except ValidationError as error:
            return await self.leave(resource, error, now)
        run, faults = accepted(resource, status)
        if run is None:
            message = shortened("; ".join(faults))
            return await self.refuse(resource, status, _refused(resource, status, message, now), message, now)

        seen = self._seen(resource, now)
        observed = observe(seen, status, now, self._settings)
        decision = plan(run.spec, status, observed, now)
        changed = decision.status != status
        if changed:
            await self.store(resource, decision.status)
        try:
            later = await self._keep_jobs(resource, run, decision, now)
        finally:
            if changed:
                await self.tell(resource, decision.events, now)
        trouble = seconds_to_next_trouble(seen.jobs, seen.pods, now, self._settings)
        return outcome(changed, later, decision.requeue_after, trouble)

    def forget(self, uid: str) -> None:
        """See `Reconciler`."""
        self._jobs.forget(uid)

    async def _keep_jobs(
        self, resource: ResourceView, run: HardeningRun, decision: Decision, now: datetime
    ) -> float | None:
        wanted = [
            WantedJob((start.key, start.attempt), partial(self._objects, run, start, decision.status))
            for start in decision.start
        ]
        return await self._jobs.keep(resource.key, resource.uid, current_attempts(decision.status), wanted, now)

    def _objects(self, run: HardeningRun, start: StageStart, status: HardeningRunStatus) -> JobObjects:
        configs = stage_configs(run.spec, run_identity(run), status, start.key, workspace_url(run))
        *before, job = stage_objects(run, self._settings, start.key, start.attempt, configs)
        return JobObjects(job, run_objects(run, self._settings), before)

    def _seen(self, run: ResourceView, now: datetime) -> Seen:
        key = run.key
        return Seen(
            run,
            self._cache.jobs(key, now),
            self._cache.pods(key),
            self._cache.approvals(key),
            self._progress,
            self._jobs.rejected(run.uid),
            self._jobs.waits(run.uid),
            self._jobs.created(run.uid),
        )


def current_attempts(status: HardeningRunStatus) -> set[Attempt]:
    """Return the attempts that may run: those of the running stages of a run that has not ended."""
    if status.phase in TERMINAL_PHASES:
        return set()
    return {
        (StageKey(entry.round, stage.stage), stage.attempts)
        for entry in status.entries
        for stage in entry.stages
        if stage.state == "Running"
    }


def accepted(run: ResourceView, status: HardeningRunStatus) -> tuple[HardeningRun | None, list[str]]:
    """Return the run if its spec can be used, else the faults, one a line.

    Settings that no pod could use are reported before the first start only: a started run is judged by its stages.
    """
    document: dict[str, Any] = {name: value for name, value in run.document.items() if name != "status"}
    found = validate_run(document)
    if not isinstance(found, HardeningRun):
        return None, [str(error) for error in found]
    faults = run_problems(found) if status.start_time is None else []
    return (found, []) if not faults else (None, faults)


def _refused(run: ResourceView, status: HardeningRunStatus, message: str, now: datetime) -> HardeningRunStatus:
    generation = run.document["metadata"].get("generation")
    conditions = refused_conditions(RunCondition, status.conditions, "Accepted", message, now, generation)
    return status.model_copy(update={"conditions": conditions, "observed_generation": generation})
