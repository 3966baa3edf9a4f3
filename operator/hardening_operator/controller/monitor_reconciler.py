"""One look at one monitor, by the planner of monitors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from hardening_api.monitor import ActiveCheck, HardeningMonitor, HardeningMonitorStatus
from hardening_api.run import HardeningRun
from hardening_api.validation import validate_as
from hardening_operator.controller.jobs import Attempt, JobKeeper, JobObjects, WantedJob
from hardening_operator.controller.observe import SeenChecks, observe_checks, seconds_to_next_trouble, wait_of_check
from hardening_operator.controller.owned import REFUSALS
from hardening_operator.controller.reconciler import Listener, Outcome, Reconciler, outcome
from hardening_operator.controller.runtime.api import Api, ApiError
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.queue import RUN, Key
from hardening_operator.controller.runtime.views import ResourceView, resource_view
from hardening_operator.planner.check_config import check_config
from hardening_operator.planner.conditions import shortened
from hardening_operator.planner.monitor import plan_monitor
from hardening_operator.planner.monitor_status import refused_status
from hardening_operator.planner.monitor_types import MonitorDecision, MonitorObserved, RerunStart
from hardening_operator.planner.names import MONITOR_LABEL, MONITOR_UID_LABEL
from hardening_operator.planner.rerun import build_rerun
from hardening_operator.planner.types import Event, Wait
from hardening_operator.resources import (
    check_attempt,
    check_objects,
    job,
    monitor_objects,
    monitor_problems,
    shared_workspace,
    workspace_url,
)
from hardening_operator.settings import OperatorSettings

TRY_AGAIN_SECONDS = 60.0
"""How long to wait before a run that was refused is asked for again."""


class MonitorReconciler(Reconciler):
    """Looks at monitors."""

    def __init__(
        self,
        cache: Cache,
        api: Api,
        settings: OperatorSettings,
        clock: Callable[[], datetime],
        listener: Listener,
    ) -> None:
        super().__init__(cache, api, settings, clock, listener)
        self._jobs = JobKeeper(api, cache, one_at_a_time=True)

    async def reconcile(self, resource: ResourceView) -> Outcome:
        """See `Reconciler`."""
        now = self._clock()
        try:
            status = HardeningMonitorStatus.model_validate(resource.status)
        except ValidationError as error:
            return await self.leave(resource, error, now)
        generation = resource.document["metadata"].get("generation")
        monitor, faults = accepted(resource)
        if monitor is None:
            message = shortened("; ".join(faults))
            refused = refused_status(status, message, now, generation)
            return await self.refuse(resource, status, refused, message, now)

        runs = self._runs(resource.namespace, monitor, status)
        seen = self._seen(resource, now)
        checks = observe_checks(seen, status.active, now, self._settings)
        wait = self._wait(seen, status.active, now)
        observed = MonitorObserved(checks, runs, generation=generation, wait=wait)
        decision = plan_monitor(monitor, status, observed, now)
        changed = decision.status != status
        if changed:
            await self.store(resource, decision.status)
        try:
            later = await self._keep_job(resource, monitor, decision, runs, now)
            retry = await self._harden_again(resource, monitor, decision, now)
        finally:
            if changed:
                await self.tell(resource, decision.events, now)
        due = (decision.wake_at - now).total_seconds() if decision.wake_at is not None else None
        trouble = seconds_to_next_trouble(seen.jobs, seen.pods, now, self._settings)
        return outcome(changed, later, retry, due, trouble)

    def forget(self, uid: str) -> None:
        """See `Reconciler`."""
        self._jobs.forget(uid)

    def _seen(self, monitor: ResourceView, now: datetime) -> SeenChecks:
        jobs, pods = self._cache.jobs(monitor.key, now), self._cache.pods(monitor.key)
        rejected, created = self._jobs.rejected(monitor.uid), self._jobs.created(monitor.uid)
        return SeenChecks(monitor.uid, jobs, pods, rejected, created)

    async def _keep_job(
        self,
        resource: ResourceView,
        monitor: HardeningMonitor,
        decision: MonitorDecision,
        runs: Mapping[str, HardeningRun],
        now: datetime,
    ) -> float | None:
        """Have the Job of the active check, unless the run it goes by is gone; delete all others."""
        active = decision.status.active
        current: list[Attempt] = [(active.name, active.attempt)] if active is not None else []
        wanted = []
        if active is not None and (active.run is None or active.run in runs):
            run = runs[active.run] if active.run is not None else None
            build = partial(self._objects, monitor, run, active)
            wanted.append(WantedJob((active.name, active.attempt), build, start=decision.start is not None))
        return await self._jobs.keep(resource.key, resource.uid, current, wanted, now)

    def _objects(self, monitor: HardeningMonitor, run: HardeningRun | None, check: ActiveCheck) -> JobObjects:
        """All that a check's Job needs goes with the Job; the Job's pods wait for their config."""
        config = check_config(monitor, check, run, workspace_url(run if run is not None else monitor))
        attempt = check_attempt(monitor, run, self._settings, check, config)
        shared = monitor_objects(monitor, self._settings)
        return JobObjects(job(attempt), shared, after=partial(check_objects, attempt))

    def _wait(self, seen: SeenChecks, active: ActiveCheck | None, now: datetime) -> Wait | None:
        if active is None:
            return None
        blocked = self._jobs.waits(seen.uid).get((active.name, active.attempt))
        return blocked or wait_of_check(seen, active, now, self._settings)

    def _runs(
        self, namespace: str, monitor: HardeningMonitor, status: HardeningMonitorStatus
    ) -> dict[str, HardeningRun]:
        """Return the run that a monitor names and the reruns it created, with their status, where they exist."""
        names = [monitor.spec.run, *(record.name for record in status.reruns)]
        known = {record.name for record in status.reruns if record.phase is not None}
        found = {}
        for name in dict.fromkeys(name for name in names if name is not None):
            run = self._cache.resource(Key(RUN, namespace, name))
            if run is None or run.deleting or not (name == monitor.spec.run or _created(monitor, run, name in known)):
                continue
            readable = _readable(run)
            if readable is not None:
                found[name] = readable
        return found

    async def _harden_again(
        self, resource: ResourceView, monitor: HardeningMonitor, decision: MonitorDecision, now: datetime
    ) -> float | None:
        if decision.rerun is None:
            return None
        refusal = await self._create_rerun(monitor, decision.rerun)
        if refusal is None:
            return None
        await self.tell(resource, [refusal], now)
        return TRY_AGAIN_SECONDS

    async def _create_rerun(self, monitor: HardeningMonitor, start: RerunStart) -> Event | None:
        """Create a rerun; return an event when it cannot be. One that exists is left as it is."""
        source = start.source
        workspace = shared_workspace(source, self._settings)
        document = build_rerun(start, monitor.metadata.name, workspace_url(source), workspace)
        document["metadata"]["labels"][MONITOR_UID_LABEL] = monitor.metadata.uid
        try:
            if await self._api.create(document) is not None:
                return None
        except ApiError as error:
            if error.status not in REFUSALS:
                raise
            text = f"the API server refused HardeningRun {start.rerun.name}: {error.message}"
            return Event("Warning", "RerunRejected", text)
        namespace = document["metadata"]["namespace"]
        existing = await self._api.get(RUN, namespace, start.rerun.name)
        if existing is None or _created(monitor, resource_view(existing), known=False):
            return None
        text = (
            f"HardeningRun {start.rerun.name} in namespace {namespace} was not created by this monitor and was left as "
            "it is: delete it, and the rerun is created by itself"
        )
        return Event("Warning", "RerunRejected", text)


def accepted(resource: ResourceView) -> tuple[HardeningMonitor | None, list[str]]:
    """Return the monitor if its spec can be used, else the faults, one a line."""
    document: dict[str, Any] = {name: value for name, value in resource.document.items() if name != "status"}
    found = validate_as(HardeningMonitor, document)
    if not isinstance(found, HardeningMonitor):
        return None, [str(error) for error in found]
    faults = monitor_problems(found)
    return (found, []) if not faults else (None, faults)


def _created(monitor: HardeningMonitor, run: ResourceView, known: bool) -> bool:
    """Return whether a monitor created a run: its labels have the monitor's name and uid.

    Runs that earlier versions created lack the uid; those are ``known`` from the monitor's status.
    """
    labels = run.document["metadata"].get("labels") or {}
    uid = labels.get(MONITOR_UID_LABEL)
    own = uid == monitor.metadata.uid or (uid is None and known)
    return own and labels.get(MONITOR_LABEL) == monitor.metadata.name


def _readable(run: ResourceView) -> HardeningRun | None:
    """Return a run with its status; None for one that only another version of the operator can read."""
    try:
        return HardeningRun.model_validate(run.document)
    except ValidationError:
        return None
