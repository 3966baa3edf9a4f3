"""What the operator knows of the cluster: the indices that kopf fills from watch streams, and what it just did itself.

A watch stream is a little late. So a status or a Job that was written a moment ago is remembered here until the stream
has caught up: no decision is taken twice, and no object applied again, for having looked at the past.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from hardening_operator.cluster.extracts import Address, ApprovalExtract, JobExtract, PodExtract, RunExtract

Extract = TypeVar("Extract", RunExtract, JobExtract, PodExtract, ApprovalExtract)
Index = Mapping[Address, Iterable[Extract]]
"""Extracts by the namespace and name of their run."""
LONGEST_LAG = timedelta(seconds=60)
"""After so long, a Job that no stream has shown is not there."""


class World:
    """Runs, and their Jobs, pods and approvals."""

    def __init__(
        self,
        runs: Index[RunExtract],
        jobs: Index[JobExtract],
        pods: Index[PodExtract],
        approvals: Index[ApprovalExtract],
    ) -> None:
        self._runs, self._jobs, self._pods, self._approvals = runs, jobs, pods, approvals
        self._written: dict[str, RunExtract] = {}
        self._past: dict[str, set[str]] = {}
        self._applied: dict[Address, dict[str, JobExtract]] = {}
        self._gone: set[str] = set()

    def addresses(self) -> list[Address]:
        """Return where all runs are; safe to call from another thread."""
        return list(self._runs)

    def run(self, address: Address) -> RunExtract | None:
        """Return a run as of the newest version known."""
        known = self._present(self._runs, address)
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

    def jobs(self, address: Address, now: datetime) -> list[JobExtract]:
        """Return the Jobs of a run, and of earlier runs of its name."""
        known = self._present(self._jobs, address)
        uids = {job.uid for job in known} | self._gone
        # The stream may have told of a Job before the answer to its apply came, so it is let go here too.
        applied = self._applied.pop(address, {}).items()
        own = {uid: job for uid, job in applied if uid not in uids and now - job.created <= LONGEST_LAG}
        if own:
            self._applied[address] = own
        return [*known, *own.values()]

    def pods(self, address: Address) -> list[PodExtract]:
        """Return the pods of a run's Jobs."""
        return self._present(self._pods, address)

    def approvals(self, address: Address) -> list[ApprovalExtract]:
        """Return the approvals that name a run."""
        return self._present(self._approvals, address)

    def wrote_run(self, run: RunExtract, version: str) -> None:
        """Remember a run as written, or read anew, over the resource version that was known."""
        self._past.setdefault(run.uid, set()).add(version)
        self._written[run.uid] = run

    def applied_job(self, address: Address, job: JobExtract) -> None:
        """Remember a Job that was just applied."""
        self._applied.setdefault(address, {})[job.uid] = job

    def saw_job(self, address: Address, uid: str) -> None:
        """Leave it to the index: a stream has told of this Job."""
        self._applied.get(address, {}).pop(uid, None)

    def forget_run(self, uid: str) -> None:
        """Forget what was written of a run that is gone."""
        self._written.pop(uid, None)
        self._past.pop(uid, None)

    def is_gone(self, uid: str) -> None:
        """Hide an object that is not there although no stream has told so: it went while the stream was cut."""
        self._gone.add(uid)

    def unfinished_jobs(self) -> Iterator[tuple[Address, JobExtract]]:
        """Return every Job that has not finished, with its run's address."""
        for address in list(self._jobs):
            for job in self._present(self._jobs, address):
                if not job.finished:
                    yield address, job

    def _present(self, index: Index[Extract], address: Address) -> list[Extract]:
        return [extract for extract in index.get(address, ()) if extract.uid not in self._gone]
