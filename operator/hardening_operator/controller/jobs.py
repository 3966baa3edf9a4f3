"""Keeps the Jobs of a run or monitor as its planner decided: deletes those that must not run, creates the wanted ones.

The planner's decision is stored before anything here happens. An operator that dies halfway leaves nothing undone: the
next one finds the decision and creates what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hardening_operator.controller.owned import NameTakenError, QuotaExceededError, RefusedError, create_owned, together
from hardening_operator.controller.runtime.api import Api
from hardening_operator.controller.runtime.cache import Cache
from hardening_operator.controller.runtime.queue import RUN, Key
from hardening_operator.controller.runtime.views import JobView, PodView, Task, job_view
from hardening_operator.planner.types import Failure, Wait

WAIT_SECONDS = 2.0
"""How long to wait before looking again whether an earlier attempt has ended."""
TOLD_AFTER = timedelta(seconds=30)
"""The status names an earlier attempt that takes longer to end."""
FIRST_RETRY, LONGEST_RETRY = 2.0, 30.0
"""Seconds before an attempt that could not be created is tried again."""

Attempt = tuple[Task, int]
"""A stage or check, and the number of the attempt at it, from 1."""


@dataclass(frozen=True)
class JobObjects:
    """The objects of one attempt."""

    job: Mapping[str, Any]
    shared: Sequence[Mapping[str, Any]] = ()
    """What all attempts of the owner share, such as the claim: created once."""
    before: Sequence[Mapping[str, Any]] = ()
    """What the Job's pods need: created together, then the Job."""
    after: Callable[[str], Sequence[Mapping[str, Any]]] = lambda _uid: ()
    """What the Job itself owns, by the Job's uid: created after it, in this order."""


@dataclass(frozen=True)
class WantedJob:
    """An attempt that must have a Job."""

    attempt: Attempt
    build: Callable[[], JobObjects]
    """Raises ValueError for objects that cannot be built."""
    start: bool = True
    """Whether to create the Job; else only what a Job that exists still lacks."""


@dataclass(frozen=True)
class _Blocked:
    """An attempt that cannot be created for now."""

    wait: Wait
    tries: int
    due: datetime


@dataclass
class _Kept:
    """What is remembered of one run or monitor."""

    prepared: bool = False
    """Whether the shared objects were created."""
    complete: set[str] = field(default_factory=set)
    """Uids of Jobs that have all their objects."""
    created: set[Attempt] = field(default_factory=set)
    """Current attempts that have, or had, a Job."""
    deleted: set[str] = field(default_factory=set)
    rejected: dict[Attempt, Failure] = field(default_factory=dict)
    blocked: dict[Attempt, _Blocked] = field(default_factory=dict)
    held: dict[Attempt, tuple[datetime, Wait | None]] = field(default_factory=dict)
    """Attempts that an earlier one holds up: since when, and what the status was given to say."""

    def forget_gone(self, jobs: Iterable[JobView], current: Collection[Attempt]) -> None:
        """Forget Jobs that are gone, and what was in the way of attempts that are not current any more."""
        uids = {job.uid for job in jobs}
        self.complete &= uids
        self.deleted &= uids
        self.rejected = {attempt: failure for attempt, failure in self.rejected.items() if attempt in current}
        self.blocked = {attempt: blocked for attempt, blocked in self.blocked.items() if attempt in current}
        self.held = {attempt: held for attempt, held in self.held.items() if attempt in current}
        self.created &= set(current)

    def holds(self, attempt: Attempt, wait: Wait, now: datetime) -> float:
        """Remember what holds an attempt up; return when to look again: at once when the status is to say so."""
        since, before = self.held.get(attempt, (now, None))
        told = wait if now - since >= TOLD_AFTER else None
        self.held[attempt] = (since, told)
        return 0.0 if told != before else WAIT_SECONDS

    def starts(self, attempt: Attempt) -> bool:
        """Forget what was in the way of an attempt; return whether the status spoke of it."""
        blocked, held = self.blocked.pop(attempt, None), self.held.pop(attempt, (None, None))
        return blocked is not None or held[1] is not None

    def blocks(self, attempt: Attempt, wait: Wait, now: datetime) -> float:
        """Remember why an attempt cannot be created; return when to look again: at once when that is news."""
        before = self.blocked.get(attempt)
        tries = before.tries + 1 if before is not None else 0
        due = now + timedelta(seconds=min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(tries, 10)))
        self.blocked[attempt] = _Blocked(wait, tries, due)
        return 0.0 if before is None or before.wait != wait else (due - now).total_seconds()


class JobKeeper:
    """Creates and deletes the Jobs of runs, or of monitors."""

    def __init__(self, api: Api, cache: Cache, one_at_a_time: bool = False) -> None:
        """With ``one_at_a_time`` an owner has one Job at a time; else each of its stages has."""
        self._api, self._cache, self._one_at_a_time = api, cache, one_at_a_time
        self._kept: dict[str, _Kept] = {}

    def rejected(self, uid: str) -> Mapping[Attempt, Failure]:
        """Return the attempts of an owner whose objects the API server refused."""
        return self._of(uid).rejected

    def waits(self, uid: str) -> Mapping[Attempt, Wait]:
        """Return the attempts of an owner that cannot be created for now, and why."""
        kept = self._of(uid)
        held = {attempt: wait for attempt, (_, wait) in kept.held.items() if wait is not None}
        return held | {attempt: blocked.wait for attempt, blocked in kept.blocked.items()}

    def created(self, uid: str) -> Collection[Attempt]:
        """Return the attempts of an owner that had a Job when it was last looked, and have to have one now."""
        return self._of(uid).created

    def forget(self, uid: str) -> None:
        """Forget an owner that is gone."""
        self._kept.pop(uid, None)

    async def keep(
        self, key: Key, uid: str, current: Collection[Attempt], wanted: Iterable[WantedJob], now: datetime
    ) -> float | None:
        """Delete the owner's unfinished Jobs of no ``current`` attempt, and create the ``wanted`` ones.

        Returns the seconds after which to look again when something is in the way; raises ApiError when the API server
        cannot do it now.
        """
        kept, jobs = self._of(uid), self._cache.jobs(key, now)
        kept.forget_gone(jobs, current)
        kept.created |= {(job.task, job.attempt) for job in jobs if job.owner_uid == uid} & set(current)
        for job in unwanted(uid, jobs, current):
            if job.uid not in kept.deleted:
                await self._api.delete("Job", key.namespace, job.name, job.uid)
                kept.deleted.add(job.uid)
        waits: list[float | None] = []
        due: list[tuple[WantedJob, JobView | None]] = []
        for want in wanted:
            present = _present(uid, want, jobs)
            if _has_all(want, present, kept):
                continue
            blocked = kept.blocked.get(want.attempt)
            if blocked is not None and now < blocked.due:
                waits.append((blocked.due - now).total_seconds())
            elif present is None and (words := self._in_the_way(want, jobs, self._cache.pods(key), now)) is not None:
                waits.append(kept.holds(want.attempt, Wait("EarlierAttemptRunning", words), now))
            else:
                due.append((want, present))
        waits += await together(*(self._make(key, uid, want, present, now) for want, present in due))
        return min((wait for wait in waits if wait is not None), default=None)

    async def _make(self, key: Key, uid: str, want: WantedJob, present: JobView | None, now: datetime) -> float | None:
        """Create what an attempt lacks; return when to look again if something is in the way, which is remembered."""
        kept = self._of(uid)
        try:
            objects = want.build()
            job_uid = present.uid if present is not None else await self._create_job(key, uid, objects)
            for document in objects.after(job_uid):
                await create_owned(self._api, document)
        except NameTakenError as taken:
            return kept.blocks(want.attempt, Wait("NameTaken", str(taken)), now)
        except QuotaExceededError as full:
            text = f"{full}: raise the quota or free some of it; work starts by itself then"
            return kept.blocks(want.attempt, Wait("QuotaExceeded", text), now)
        except (RefusedError, ValueError) as refusal:
            again = "start a new run" if key.kind == RUN else "the next check tries again"
            text = f"{refusal}: correct the spec, the quota or the permission it names, then {again}"
            kept.rejected[want.attempt] = Failure(None, "CreateRejected", text, fatal=True)
            return 0.0
        kept.complete.add(job_uid)
        kept.created.add(want.attempt)
        return 0.0 if kept.starts(want.attempt) else None

    async def _create_job(self, key: Key, uid: str, objects: JobObjects) -> str:
        """Create a Job after all that its pods need; return its uid."""
        kept = self._of(uid)
        shared = () if kept.prepared else objects.shared
        # What does not need one another is created at the same time: a stage waits for two calls and not for all.
        await together(*(create_owned(self._api, document) for document in (*shared, *objects.before)))
        kept.prepared = True
        made = job_view(await create_owned(self._api, objects.job))
        if made is None or made.owner_uid != uid:
            raise RefusedError(f"Job {objects.job['metadata']['name']} came back without its owner or its labels")
        self._cache.applied_job(key, made)
        return made.uid

    def _in_the_way(
        self, want: WantedJob, jobs: Sequence[JobView], pods: Sequence[PodView], now: datetime
    ) -> str | None:
        """Say what must end before an attempt may start: two must never write one folder at a time.

        That is a Job of the same attempt, be it of an earlier owner of that name; a rival's Job that has not ended; and
        any rival's pod, whether or not its Job still exists. A Job that is being deleted ends with its pods.
        """
        after = "has to end first; this attempt starts by itself then"
        known = {pod.job_uid for pod in pods}
        for job in jobs:
            open_rival = self._is_rival(want, job) and not (job.finished or (job.deleting and job.uid in known))
            if open_rival or (job.task, job.attempt) == want.attempt:
                return f"Job {job.name}, of attempt {job.attempt}, {after}"
        for pod in sorted(pods, key=lambda pod: pod.name):
            if pod.alive(now) and self._is_rival(want, pod):
                lost = f"if its node is lost for good, run `kubectl delete pod {pod.name} --force`"
                return f"pod {pod.name}, of attempt {pod.attempt}, on node {pod.node or '(none)'} {after}; {lost}"
        return None

    def _is_rival(self, want: WantedJob, other: JobView | PodView) -> bool:
        return self._one_at_a_time or other.task == want.attempt[0]

    def _of(self, uid: str) -> _Kept:
        return self._kept.setdefault(uid, _Kept())


def unwanted(uid: str, jobs: Iterable[JobView], current: Collection[Attempt]) -> list[JobView]:
    """Return an owner's unfinished Jobs that must not run: those of no current attempt."""
    return [
        job
        for job in jobs
        if job.owner_uid == uid and not (job.finished or job.deleting) and (job.task, job.attempt) not in current
    ]


def _present(uid: str, want: WantedJob, jobs: Iterable[JobView]) -> JobView | None:
    own = (job for job in jobs if job.owner_uid == uid and not job.deleting)
    return next((job for job in own if (job.task, job.attempt) == want.attempt), None)


def _has_all(want: WantedJob, present: JobView | None, kept: _Kept) -> bool:
    """Return whether there is nothing to create."""
    if present is None:
        return not want.start
    return present.finished or present.uid in kept.complete
