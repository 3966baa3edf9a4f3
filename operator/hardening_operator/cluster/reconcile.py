"""One look at one run: observe, plan, store the status, and only then act on it.

The status is stored only over the very version it was decided from. So of two operators that decide at the same time
one is refused, and one that is killed before it acts finds its decision stored and acts on it the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from hardening_api.run import HardeningRun
from hardening_api.status import HardeningRunStatus
from hardening_api.validation import validate_run
from hardening_operator.cluster.api import Api
from hardening_operator.cluster.children import Children
from hardening_operator.cluster.events import EventRecorder
from hardening_operator.cluster.extracts import RunExtract, run_extract
from hardening_operator.cluster.observe import Seen, observe
from hardening_operator.cluster.progress import Measured
from hardening_operator.cluster.queue import Key
from hardening_operator.cluster.world import World
from hardening_operator.conditions import shortened, updated_conditions
from hardening_operator.observed import Event
from hardening_operator.planner import plan
from hardening_operator.resources import unusable
from hardening_operator.settings import OperatorSettings

KIND = "HardeningRun"
MOST_CONFLICTS = 5


class Listener(Protocol):
    """Who counts what happens."""

    def observe_events(self, namespace: str, events: Iterable[Event]) -> None:
        """Hear the events of a decision that was stored."""


class Conflict(Exception):
    """Somebody else wrote the run; it was read anew."""

    expected = True


class RunReconciler:
    """Looks at runs; the work of a queue."""

    def __init__(
        self,
        world: World,
        api: Api,
        settings: OperatorSettings,
        clock: Callable[[], datetime],
        listener: Listener,
        progress: Mapping[str, Measured],
    ) -> None:
        self._world, self._api, self._settings, self._clock = world, api, settings, clock
        self._listener, self._progress = listener, progress
        self._children = Children(api, world, settings)
        self._recorder = EventRecorder(api, settings.pod_name)
        self._known: dict[Key, str] = {}
        self._unreadable: dict[str, str] = {}

    async def __call__(self, key: Key) -> tuple[str, float | None]:
        """Look at a run; return what came of it (Changed or Unchanged) and after how many seconds to look again.

        Raises ApiError when the API server cannot be had, Conflict when somebody else writes the run all the time.
        """
        for _ in range(MOST_CONFLICTS):
            run = self._world.run((key.namespace, key.name))
            if run is None or run.deleting:
                self._forget(key)
                return "Unchanged", None
            self._known[key] = run.uid
            try:
                return await self._reconcile(run)
            except Conflict:
                continue
        raise Conflict(f"the status was written by somebody else {MOST_CONFLICTS} times in a row")

    async def _reconcile(self, run: RunExtract) -> tuple[str, float | None]:
        now = self._clock()
        try:
            status = HardeningRunStatus.model_validate(run.status)
        except ValidationError as error:
            return await self._leave(run, error, now)
        manifest, faults = accepted(run, status)
        if manifest is None:
            return await self._refuse(run, status, faults, now)

        observed = observe(self._seen(run, now), status, now, self._settings)
        decision = plan(manifest.spec, status, observed, now)
        changed = decision.status != status
        if changed:
            await self._store(run, decision.status)
        try:
            later = await self._children.carry_out(manifest, decision, now)
        finally:
            if changed:
                self._listener.observe_events(run.namespace, decision.events)
                await self._recorder.record(run, decision.events, now)
        waits = [wait for wait in (later, decision.requeue_after) if wait is not None]
        return ("Changed" if changed else "Unchanged"), min(waits, default=None)

    def _seen(self, run: RunExtract, now: datetime) -> Seen:
        address = (run.namespace, run.name)
        return Seen(
            run,
            self._world.jobs(address, now),
            self._world.pods(address),
            self._world.approvals(address),
            self._progress,
            self._children.rejected(run.uid),
        )

    async def _store(self, run: RunExtract, status: HardeningRunStatus) -> None:
        """Store a status over the version it was decided from. Raises Conflict when that is not the newest."""
        document = status.to_document()
        stored = await self._api.replace_status(KIND, run.namespace, run.name, run.resource_version, document)
        if stored is not None:
            self._world.wrote_run(run_extract(stored), run.resource_version)
            return
        now = await self._api.get(KIND, run.namespace, run.name)
        if now is None or now["metadata"]["uid"] != run.uid:
            self._world.is_gone(run.uid)
        else:
            self._world.wrote_run(run_extract(now), run.resource_version)
        raise Conflict

    async def _refuse(
        self, run: RunExtract, status: HardeningRunStatus, faults: list[str], now: datetime
    ) -> tuple[str, float | None]:
        """Say that the spec cannot be used; everything else stays as it is until the spec is corrected."""
        generation = run.document["metadata"].get("generation")
        message = shortened("; ".join(faults))
        answer = updated_conditions(status.conditions, {"Accepted": ("False", "SpecInvalid", message)}, now, generation)
        others = [condition for condition in status.conditions if condition.type != "Accepted"]
        refused = status.model_copy(update={"conditions": [*answer, *others], "observed_generation": generation})
        if refused == status:
            return "Unchanged", None
        await self._store(run, refused)
        event = Event("Warning", "SpecInvalid", message)
        self._listener.observe_events(run.namespace, [event])
        await self._recorder.record(run, [event], now)
        return "Changed", None

    async def _leave(self, run: RunExtract, error: ValidationError, now: datetime) -> tuple[str, float | None]:
        """Say that the status is none of ours; what it means cannot be known, so nothing is done."""
        places = ", ".join(".".join(map(str, each["loc"])) for each in error.errors()[:3])
        text = f"status: {places}: not as this operator writes it: was it written by a newer one? Then run that one"
        if self._unreadable.get(run.uid) != run.resource_version:
            self._unreadable[run.uid] = run.resource_version
            await self._recorder.record(run, [Event("Warning", "StatusUnreadable", text)], now)
        return "Unchanged", None

    def _forget(self, key: Key) -> None:
        uid = self._known.pop(key, None)
        if uid is not None:
            self._children.forget(uid)
            self._world.forget_run(uid)
            self._unreadable.pop(uid, None)


def accepted(run: RunExtract, status: HardeningRunStatus) -> tuple[HardeningRun | None, list[str]]:
    """Return the run if its spec can be used, else the faults, one a line.

    What no pod could use is told before the first start only: a run that goes on is judged by what comes of it.
    """
    document: dict[str, Any] = {name: value for name, value in run.document.items() if name != "status"}
    found = validate_run(document)
    if not isinstance(found, HardeningRun):
        return None, [str(error) for error in found]
    faults = unusable(found) if status.start_time is None else []
    return (found, []) if not faults else (None, faults)
