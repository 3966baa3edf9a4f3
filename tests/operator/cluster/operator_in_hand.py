"""The reconciler over what the emulated API server has, without watches: the test says when it looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from hardening_operator.cluster.api import KubernetesApi
from hardening_operator.cluster.extracts import Address
from hardening_operator.cluster.progress import Measured
from hardening_operator.cluster.queue import Key
from hardening_operator.cluster.reconcile import RunReconciler
from hardening_operator.cluster.world import World
from hardening_operator.handlers.approvals import index_approval
from hardening_operator.handlers.children import handle_job_event, index_job, index_pod
from hardening_operator.handlers.runs import index_run
from hardening_operator.observed import Event
from hardening_operator.settings import OperatorSettings
from tests.operator.cluster.emulator import ApiServer
from tests.operator.world import START, spec_of

RUN = Key("HardeningRun", "ns", "first")
SETTINGS = OperatorSettings(trainer_image="registry.example/trainer:1", scheduling_deadline_seconds=1800)
INDEXERS: dict[str, Any] = {
    "hardeningruns": index_run,
    "jobs": index_job,
    "pods": index_pod,
    "promotionapprovals": index_approval,
}


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


class Index(Mapping[Address, Iterable[Any]]):
    """What kopf's index of a kind would hold; it can be stopped, as a watch that is late."""

    def __init__(self, server: ApiServer, plural: str) -> None:
        self._server, self._plural = server, plural
        self._stopped: dict[Address, list[Any]] | None = None

    @property
    def stopped(self) -> bool:
        return self._stopped is not None

    def stop(self) -> None:
        self._stopped = self._now()

    def go_on(self) -> None:
        self._stopped = None

    def _now(self) -> dict[Address, list[Any]]:
        found: dict[Address, list[Any]] = {}
        for document in self._server.objects_of(self._plural):
            for address, extract in INDEXERS[self._plural](document).items():
                found.setdefault(address, []).append(extract)
        return found

    def _items(self) -> dict[Address, list[Any]]:
        return self._now() if self._stopped is None else self._stopped

    def __getitem__(self, address: Address) -> Iterable[Any]:
        return self._items()[address]

    def __iter__(self) -> Iterator[Address]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())


class OperatorInHand:
    """One operator process."""

    def __init__(
        self, server: ApiServer, api: KubernetesApi, clock: Clock, settings: OperatorSettings = SETTINGS
    ) -> None:
        self.server, self.clock = server, clock
        self.indices = {plural: Index(server, plural) for plural in INDEXERS}
        self.world = World(*self.indices.values())
        self.progress: dict[str, Measured] = {}
        self.told: list[Event] = []
        self.reconcile = RunReconciler(self.world, api, settings, clock, self, self.progress)
        self._told_up_to = 0

    def observe_events(self, namespace: str, events: Iterable[Event]) -> None:
        self.told += events

    async def look(self) -> tuple[str, float | None]:
        """Look at the run once, after the watch of Jobs has told what it has to tell."""
        self._hear_of_jobs()
        return await self.reconcile(RUN)

    async def settle(self) -> float | None:
        """Look at the run until there is nothing more to do."""
        for _ in range(20):
            outcome, again = await self.look()
            if outcome == "Unchanged":
                return again
        raise AssertionError("the run never came to rest")

    def _hear_of_jobs(self) -> None:
        if self.indices["jobs"].stopped:
            return
        for _, plural, _, document in self.server.log[self._told_up_to :]:
            if plural == "jobs":
                handle_job_event(document, self.world, lambda _: None)
        self._told_up_to = len(self.server.log)

    def late(self, *plurals: str) -> None:
        """Let the watches of these kinds fall behind."""
        for plural in plurals or tuple(self.indices):
            self.indices[plural].stop()

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


async def edit(server: ApiServer, name: str = "first", **spec: Any) -> None:
    """Change a run's spec as a user would."""
    document = server.get_one("hardeningruns", name)
    metadata = {**document["metadata"], "generation": document["metadata"]["generation"] + 1}
    await server.put("hardeningruns", {**document, "metadata": metadata, "spec": document["spec"] | spec})


def status_of(server: ApiServer, name: str = "first") -> dict[str, Any]:
    status: dict[str, Any] = server.get_one("hardeningruns", name).get("status", {})
    return status


def condition(server: ApiServer, kind: str, name: str = "first") -> tuple[str, str, str]:
    """Status, reason and message of a run's condition."""
    found = next(each for each in status_of(server, name)["conditions"] if each["type"] == kind)
    return found["status"], found["reason"], found["message"]
