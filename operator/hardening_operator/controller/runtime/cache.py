"""What the operator knows of the cluster: the indices that kopf fills from watch streams, and what it just did itself.

A watch stream is a little late. So a status or a Job that was written a moment ago is remembered here until the stream
has caught up: no decision is taken twice, and no object applied again, for having looked at the past.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from hardening_operator.controller.runtime.queue import MONITOR, RUN, Key
from hardening_operator.controller.runtime.views import ApprovalView, JobView, PodView, ResourceView

View = TypeVar("View", ResourceView, JobView, PodView, ApprovalView)
Index = Mapping[Key, Iterable[View]]
LONGEST_LAG = timedelta(seconds=60)
"""After so long, a Job that no stream has shown is not there."""


@dataclass(frozen=True)
class Indices:
    """What the watch streams have brought, by the run or monitor it is of."""

    runs: Index[ResourceView] = field(default_factory=dict)
    monitors: Index[ResourceView] = field(default_factory=dict)
    jobs: Index[JobView] = field(default_factory=dict)
    pods: Index[PodView] = field(default_factory=dict)
    approvals: Index[ApprovalView] = field(default_factory=dict)
    watchers: Mapping[Key, Iterable[Key]] = field(default_factory=dict)
    """Monitors by the run they name."""


class Cache:
    """Runs and monitors, and their Jobs, pods and approvals."""

    def __init__(self, indices: Indices | None = None) -> None:
        self._indices = indices or Indices()
        self._resources = {RUN: self._indices.runs, MONITOR: self._indices.monitors}
        self._written: dict[str, ResourceView] = {}
        self._past: dict[str, set[str]] = {}
        self._applied: dict[Key, dict[str, JobView]] = {}
        self._gone: set[str] = set()

    def keys(self, kind: str) -> list[Key]:
        """Return all resources of a kind; safe to call from another thread."""
        return list(self._resources[kind])

    def resource(self, key: Key) -> ResourceView | None:
        """Return a run or monitor as of the newest version known."""
        known = self._present(self._resources[key.kind], key)
        if not known:
            return None
        newest = known[-1]
        written = self._written.get(newest.uid)
        if written is None:
            return newest
        if newest.resource_version in self._past[newest.uid]:
            return written
        del self._written[newest.uid], self._past[newest.uid]
        return newest

    def jobs(self, key: Key, now: datetime) -> list[JobView]:
        """Return the Jobs of a run or monitor, and of earlier ones of its name."""
        known = self._present(self._indices.jobs, key)
        uids = {job.uid for job in known} | self._gone
        # The stream may have told of a Job before the answer to its apply came, so it is let go here too.
        applied = self._applied.pop(key, {}).items()
        own = {uid: job for uid, job in applied if uid not in uids and now - job.created <= LONGEST_LAG}
        if own:
            self._applied[key] = own
        return [*known, *own.values()]

    def pods(self, key: Key) -> list[PodView]:
        """Return the pods of a run's or monitor's Jobs."""
        return self._present(self._indices.pods, key)

    def approvals(self, key: Key) -> list[ApprovalView]:
        """Return the approvals that name a run."""
        return self._present(self._indices.approvals, key)

    def watchers(self, key: Key) -> list[Key]:
        """Return the monitors that name a run."""
        return list(self._indices.watchers.get(key, ()))

    def wrote(self, resource: ResourceView, version: str) -> None:
        """Remember a resource as written, or read again, over the resource version that was known."""
        self._past.setdefault(resource.uid, set()).add(version)
        self._written[resource.uid] = resource

    def applied_job(self, key: Key, job: JobView) -> None:
        """Remember a Job that was just applied."""
        self._applied.setdefault(key, {})[job.uid] = job

    def saw_job(self, key: Key, uid: str) -> None:
        """Leave it to the index: a stream has delivered this Job."""
        self._applied.get(key, {}).pop(uid, None)

    def forget(self, uid: str) -> None:
        """Forget what was written of a resource that is gone."""
        self._written.pop(uid, None)
        self._past.pop(uid, None)

    def is_gone(self, uid: str) -> None:
        """Hide an object that is gone although no stream has said so: it went while the stream was cut."""
        self._gone.add(uid)

    def running_pods(self) -> Iterator[tuple[Key, PodView]]:
        """Return every pod that runs, with whose it is."""
        for key in list(self._indices.pods):
            for pod in self._present(self._indices.pods, key):
                if pod.phase == "Running" and not pod.deleting:
                    yield key, pod

    def unfinished_jobs(self) -> Iterator[tuple[Key, JobView]]:
        """Return every Job that has not finished, with whose it is."""
        for key in list(self._indices.jobs):
            for job in self._present(self._indices.jobs, key):
                if not job.finished:
                    yield key, job

    def _present(self, index: Index[View], key: Key) -> list[View]:
        return [view for view in index.get(key, ()) if view.uid not in self._gone]
