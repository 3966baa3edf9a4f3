"""One look at one run, by the planner of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from hardening_api.run import HardeningRun
from hardening_api.status import HardeningRunStatus
from hardening_api.validation import validate_run
from hardening_operator.controller.observe import Seen, observe
from hardening_operator.controller.progress import Measured
from hardening_operator.controller.reconciler import Listener, Outcome, Reconciler, outcome
from hardening_operator.controller.runtime.api import Api
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.views import ResourceView
from hardening_operator.controller.stage_jobs import Children
from hardening_operator.planner.conditions import shortened, updated_conditions
from hardening_operator.planner.run import plan
from hardening_operator.resources import unusable
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
        progress: Mapping[str, Measured],
    ) -> None:
        super().__init__(cache, api, settings, clock, listener)
        self._progress = progress
        self._children = Children(api, cache, settings)

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

        observed = observe(self._seen(resource, now), status, now, self._settings)
        decision = plan(run.spec, status, observed, now)
        changed = decision.status != status
        if changed:
            await self.store(resource, decision.status)
        try:
            later = await self._children.carry_out(run, decision, now)
        finally:
            if changed:
                await self.tell(resource, decision.events, now)
        return outcome(changed, later, decision.requeue_after)

    def forget(self, uid: str) -> None:
        """See `Reconciler`."""
        self._children.forget(uid)

    def _seen(self, run: ResourceView, now: datetime) -> Seen:
        key = run.key
        return Seen(
            run,
            self._cache.jobs(key, now),
            self._cache.pods(key),
            self._cache.approvals(key),
            self._progress,
            self._children.rejected(run.uid),
        )


def accepted(run: ResourceView, status: HardeningRunStatus) -> tuple[HardeningRun | None, list[str]]:
    """Return the run if its spec can be used, else the faults, one a line.

    What no pod could use is told before the first start only: a run that goes on is judged by what comes of it.
    """
    document: dict[str, Any] = {name: value for name, value in run.document.items() if name != "status"}
    found = validate_run(document)
    if not isinstance(found, HardeningRun):
        return None, [str(error) for error in found]
    faults = unusable(found) if status.start_time is None else []
    return (found, []) if not faults else (None, faults)


def _refused(run: ResourceView, status: HardeningRunStatus, message: str, now: datetime) -> HardeningRunStatus:
    generation = run.document["metadata"].get("generation")
    answer = updated_conditions(status.conditions, {"Accepted": ("False", "SpecInvalid", message)}, now, generation)
    others = [condition for condition in status.conditions if condition.type != "Accepted"]
    return status.model_copy(update={"conditions": [*answer, *others], "observed_generation": generation})
