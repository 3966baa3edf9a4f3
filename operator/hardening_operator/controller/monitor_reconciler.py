"""One look at one monitor, by the planner of monitors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from hardening_api.monitor import HardeningMonitor, HardeningMonitorStatus
from hardening_api.run import HardeningRun
from hardening_api.validation import validate_as
from hardening_operator.controller.check_jobs import TRY_AGAIN_SECONDS, Checks
from hardening_operator.controller.reconciler import Listener, Outcome, Reconciler, outcome
from hardening_operator.controller.runtime.api import Api
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.queue import RUN, Key
from hardening_operator.controller.runtime.views import ResourceView
from hardening_operator.planner.conditions import shortened
from hardening_operator.planner.monitor import plan_monitor
from hardening_operator.planner.monitor_status import refused_status
from hardening_operator.planner.monitor_types import MonitorDecision, MonitorObserved
from hardening_operator.resources import unusable_monitor
from hardening_operator.settings import OperatorSettings


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
        self._checks = Checks(api, cache, settings)

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
        observed = MonitorObserved(self._checks.observe(monitor, now), runs, generation=generation)
        decision = plan_monitor(monitor, status, observed, now)
        changed = decision.status != status
        if changed:
            await self.store(resource, decision.status)
        try:
            later = await self._checks.carry_out(monitor, decision, runs, now)
            retry = await self._harden_again(resource, monitor, decision, now)
        finally:
            if changed:
                await self.tell(resource, decision.events, now)
        due = (decision.wake_at - now).total_seconds() if decision.wake_at is not None else None
        return outcome(changed, later, retry, due)

    def forget(self, uid: str) -> None:
        """See `Reconciler`."""
        self._checks.forget(uid)

    def _runs(
        self, namespace: str, monitor: HardeningMonitor, status: HardeningMonitorStatus
    ) -> dict[str, HardeningRun]:
        """Return the run that a monitor names and the reruns it created, with their status, where they exist."""
        names = [monitor.spec.run, *(record.name for record in status.reruns)]
        found = {}
        for name in dict.fromkeys(name for name in names if name is not None):
            run = self._cache.resource(Key(RUN, namespace, name))
            readable = _readable(run) if run is not None and not run.deleting else None
            if readable is not None:
                found[name] = readable
        return found

    async def _harden_again(
        self, resource: ResourceView, monitor: HardeningMonitor, decision: MonitorDecision, now: datetime
    ) -> float | None:
        if decision.rerun is None:
            return None
        refusal = await self._checks.harden_again(monitor, decision.rerun)
        if refusal is None:
            return None
        await self.tell(resource, [refusal], now)
        return TRY_AGAIN_SECONDS


def accepted(resource: ResourceView) -> tuple[HardeningMonitor | None, list[str]]:
    """Return the monitor if its spec can be used, else the faults, one a line."""
    document: dict[str, Any] = {name: value for name, value in resource.document.items() if name != "status"}
    found = validate_as(HardeningMonitor, document)
    if not isinstance(found, HardeningMonitor):
        return None, [str(error) for error in found]
    faults = unusable_monitor(found)
    return (found, []) if not faults else (None, faults)


def _readable(run: ResourceView) -> HardeningRun | None:
    """Return a run with its status; None for one that only another version of the operator can read."""
    try:
        return HardeningRun.model_validate(run.document)
    except ValidationError:
        return None
