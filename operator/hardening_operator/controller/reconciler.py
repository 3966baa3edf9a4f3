"""One look at one resource: observe, plan, store the status, and only then act on it.

The status is stored only over the very version it was decided from. So of two operators that decide at the same time
one is refused, and one that is killed before it acts finds its decision stored and acts on it the next time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from hardening_api.base import Contract
from hardening_operator.controller.runtime.api import Api
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.events import EventRecorder
from hardening_operator.controller.runtime.queue import Key
from hardening_operator.controller.runtime.views import ResourceView, resource_view
from hardening_operator.planner.types import Event
from hardening_operator.settings import OperatorSettings

MOST_CONFLICTS = 5
Outcome = tuple[str, float | None]
"""What came of a look (Changed or Unchanged), and after how many seconds to look again."""


class Listener(Protocol):
    """Who counts what happens."""

    def observe_events(self, namespace: str, events: Iterable[Event]) -> None:
        """Hear the events of a decision that was stored."""


class Conflict(Exception):
    """Somebody else wrote the resource; it was read again."""

    expected = True


class Reconciler(ABC):
    """Looks at the resources of one kind; the work of a queue."""

    def __init__(
        self,
        cache: Cache,
        api: Api,
        settings: OperatorSettings,
        clock: Callable[[], datetime],
        listener: Listener,
    ) -> None:
        self._cache, self._api, self._settings, self._clock = cache, api, settings, clock
        self._listener = listener
        self._recorder = EventRecorder(api, settings.pod_name)
        self._known: dict[Key, str] = {}
        self._unreadable: dict[str, str] = {}

    async def __call__(self, key: Key) -> Outcome:
        """Look at a resource.

        Raises ApiError when the API server cannot be had, Conflict when somebody else writes the status all the time.
        """
        for _ in range(MOST_CONFLICTS):
            resource = self._cache.resource(key)
            if resource is None or resource.deleting:
                self._forget(key)
                return "Unchanged", None
            self._known[key] = resource.uid
            try:
                return await self.reconcile(resource)
            except Conflict:
                continue
        raise Conflict(f"the status was written by somebody else {MOST_CONFLICTS} times in a row")

    @abstractmethod
    async def reconcile(self, resource: ResourceView) -> Outcome:
        """Look at a resource as of the newest version known."""

    @abstractmethod
    def forget(self, uid: str) -> None:
        """Forget a resource that is gone."""

    async def store(self, resource: ResourceView, status: Contract) -> None:
        """Store a status over the version it was decided from. Raises Conflict when that is not the newest."""
        key, version = resource.key, resource.resource_version
        document = status.to_document()
        stored = await self._api.replace_status(key.kind, key.namespace, key.name, version, document)
        if stored is not None:
            self._cache.wrote(resource_view(stored), version)
            return
        now = await self._api.get(key.kind, key.namespace, key.name)
        if now is None or now["metadata"]["uid"] != resource.uid:
            self._cache.is_gone(resource.uid)
        else:
            self._cache.wrote(resource_view(now), version)
        raise Conflict

    async def tell(self, resource: ResourceView, events: Iterable[Event], now: datetime) -> None:
        """Count events, and write them for people."""
        told = list(events)
        self._listener.observe_events(resource.namespace, told)
        await self._recorder.record(resource, told, now)

    async def refuse(
        self, resource: ResourceView, before: Contract, refused: Contract, message: str, now: datetime
    ) -> Outcome:
        """Say that the spec cannot be used; everything else stays as it is until the spec is corrected."""
        if refused == before:
            return "Unchanged", None
        await self.store(resource, refused)
        await self.tell(resource, [Event("Warning", "SpecInvalid", message)], now)
        return "Changed", None

    async def leave(self, resource: ResourceView, error: ValidationError, now: datetime) -> Outcome:
        """Say that the status is none of ours; what it means cannot be known, so nothing is done."""
        places = ", ".join(".".join(map(str, each["loc"])) for each in error.errors()[:3])
        text = f"status: {places}: not as this operator writes it: was it written by a newer one? Then run that one"
        if self._unreadable.get(resource.uid) != resource.resource_version:
            self._unreadable[resource.uid] = resource.resource_version
            await self._recorder.record(resource, [Event("Warning", "StatusUnreadable", text)], now)
        return "Unchanged", None

    def _forget(self, key: Key) -> None:
        uid = self._known.pop(key, None)
        if uid is not None:
            self.forget(uid)
            self._cache.forget(uid)
            self._unreadable.pop(uid, None)


def outcome(changed: bool, *waits: float | None) -> Outcome:
    """Return what came of a look, to be made again after the shortest of ``waits``."""
    return ("Changed" if changed else "Unchanged"), min((wait for wait in waits if wait is not None), default=None)
