"""The reconciler over what the emulated API server has, without watches: the test says when it looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from hardening_operator.controller.monitor_reconciler import MonitorReconciler
from hardening_operator.controller.run_reconciler import RunReconciler
from hardening_operator.controller.runtime.api import KubernetesApi
from hardening_operator.controller.runtime.cache import Cache, Indices
from hardening_operator.controller.runtime.events import REASONS
from hardening_operator.controller.runtime.handlers import (
    handle_job_event,
    index_approval,
    index_job,
    index_monitor,
    index_pod,
    index_run,
    index_watcher,
)
from hardening_operator.controller.runtime.queue import MONITOR, RUN, Key
from hardening_operator.planner.types import Event, Pace
from hardening_operator.settings import OperatorSettings
from tests.operator.controller.emulator import ApiServer
from tests.operator.world import START, spec_of

FIRST = Key(RUN, "ns", "first")
NIGHTLY = Key(MONITOR, "ns", "nightly")
SETTINGS = OperatorSettings(trainer_image="registry.example/trainer:1", scheduling_deadline_seconds=1800)
INDEXERS: dict[str, tuple[str, Any]] = {
    "runs": ("hardeningruns", index_run),
    "monitors": ("hardeningmonitors", index_monitor),
    "jobs": ("jobs", index_job),
    "pods": ("pods", index_pod),
    "approvals": ("promotionapprovals", index_approval),
    "watchers": ("hardeningmonitors", index_watcher),
}
"""By index: the plural name of its kind, and what reads an object."""


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def text(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


class Index(Mapping[Key, Iterable[Any]]):
    """What kopf's index of a kind would hold; it can be stopped, as a watch that is late."""

    def __init__(self, server: ApiServer, name: str) -> None:
        self._server = server
        self.plural, self._indexer = INDEXERS[name]
        self._stopped: dict[Key, list[Any]] | None = None

    @property
    def stopped(self) -> bool:
        return self._stopped is not None

    def stop(self) -> None:
        self._stopped = self._now()

    def go_on(self) -> None:
        self._stopped = None

    def _now(self) -> dict[Key, list[Any]]:
        found: dict[Key, list[Any]] = {}
        for document in self._server.objects_of(self.plural):
            for key, view in self._indexer(document).items():
                found.setdefault(key, []).append(view)
        return found

    def _items(self) -> dict[Key, list[Any]]:
        return self._now() if self._stopped is None else self._stopped

    def __getitem__(self, key: Key) -> Iterable[Any]:
        return self._items()[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())


class OperatorInHand:
    """One operator process."""

    def __init__(
        self, server: ApiServer, api: KubernetesApi, clock: Clock, settings: OperatorSettings = SETTINGS
    ) -> None:
        self.server, self.clock = server, clock
        self.indices = {name: Index(server, name) for name in INDEXERS}
        self.cache = Cache(Indices(**self.indices))
        self.progress: dict[str, Pace] = {}
        self.told: list[Event] = []
        self.reconcilers: dict[str, Any] = {
            RUN: RunReconciler(self.cache, api, settings, clock, self, self.progress),
            MONITOR: MonitorReconciler(self.cache, api, settings, clock, self),
        }
        self._told_up_to = 0

    def observe_events(self, namespace: str, events: Iterable[Event]) -> None:
        self.told += events
        assert {event.reason for event in self.told} <= REASONS

    async def look(self, key: Key = FIRST) -> tuple[str, float | None]:
        """Look at a resource once, after the watch of Jobs has told what it has to tell."""
        self._hear_of_jobs()
        outcome: tuple[str, float | None] = await self.reconcilers[key.kind](key)
        return outcome

    async def settle(self, key: Key = FIRST) -> float | None:
        """Look at a resource until there is nothing more to do."""
        for _ in range(20):
            outcome, again = await self.look(key)
            if outcome == "Unchanged" and again != 0.0:
                return again
        raise AssertionError(f"{key} never came to rest")

    def _hear_of_jobs(self) -> None:
        if self.indices["jobs"].stopped:
            return
        for _, plural, _, document in self.server.log[self._told_up_to :]:
            if plural == "jobs":
                handle_job_event(document, self.cache, lambda _: None)
        self._told_up_to = len(self.server.log)

    def late(self, *plurals: str) -> None:
        """Let the watches of these kinds, or of all, fall behind."""
        for index in self.indices.values():
            if not plurals or index.plural in plurals:
                index.stop()

    def in_step(self) -> None:
        """Let all watches catch up."""
        for index in self.indices.values():
            index.go_on()


async def submit(server: ApiServer, name: str = "first", labels: dict[str, str] | None = None, **spec: Any) -> None:
    """Create a run as a user would; ``spec`` overrides, in camelCase."""
    document = {
        "apiVersion": "hardening.dev/v1alpha1",
        "kind": "HardeningRun",
        "metadata": {"name": name, "namespace": "ns", "labels": labels or {}},
        "spec": spec_of(rounds=1).to_document() | spec,
    }
    await server.create_object("hardeningruns", document)


async def edit(server: ApiServer, name: str = "first", plural: str = "hardeningruns", **spec: Any) -> None:
    """Change a spec as a user would."""
    document = server.get_one(plural, name)
    metadata = {**document["metadata"], "generation": document["metadata"]["generation"] + 1}
    await server.put(plural, {**document, "metadata": metadata, "spec": document["spec"] | spec})


def status_of(server: ApiServer, name: str = "first", plural: str = "hardeningruns") -> dict[str, Any]:
    status: dict[str, Any] = server.get_one(plural, name).get("status", {})
    return status


def condition(server: ApiServer, kind: str, name: str = "first", plural: str = "hardeningruns") -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    found = next(each for each in status_of(server, name, plural)["conditions"] if each["type"] == kind)
    return found["status"], found["reason"], found["message"]
