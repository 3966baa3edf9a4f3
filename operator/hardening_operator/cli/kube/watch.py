"""Follows one object of a cluster through expired watches and restarts of its API server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardening_operator.cli.kube.faults import ClusterFault, Denied, Expired, NotFound, NotServed, Unreachable

if TYPE_CHECKING:
    from hardening_operator.cli.kube.api import Cluster, Document

WATCH_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 10.0
REFUSALS_BORNE = 6
"""An API server that has just started may refuse what it allows a moment later."""


@dataclass(frozen=True)
class Outage:
    """The cluster cannot be read at the moment; it is tried again."""

    reason: str


class TimedOut(Exception):
    """The time to wait is over."""


class Follower:
    """Yields an object each time it changes."""

    def __init__(
        self,
        cluster: Cluster,
        resource: str,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        deadline: float | None,
    ) -> None:
        self._cluster, self._resource = cluster, resource
        self._clock, self._sleep, self._deadline = clock, sleep, deadline
        self._failures = 0

    def follow(self, first: Document) -> Iterator[Document | Outage]:
        """Yield ``first``, then the object as it changes, and an Outage whenever it cannot be read; ends with it.

        Raises:
            TimedOut: the deadline has passed.
            ClusterFault: the cluster refuses for good.
        """
        name = first["metadata"]["name"]
        yield first
        version: str | None = first["metadata"]["resourceVersion"]
        while True:
            try:
                if version is None:
                    document = self._cluster.get(self._resource, name)
                    version = document["metadata"]["resourceVersion"]
                    yield document
                for event in self._cluster.watch(self._resource, name, version, self._seconds_left()):
                    self._failures = 0
                    if event["type"] == "DELETED":
                        return
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["object"]
            except NotFound:
                return
            except Expired:
                version = None
            except (Unreachable, Denied, NotServed) as fault:
                yield self._outage(fault)
                version = None

    def _outage(self, fault: ClusterFault) -> Outage:
        """Wait before the next try. Raises ``fault`` when it is a refusal that lasts."""
        self._failures += 1
        if not isinstance(fault, Unreachable) and self._failures > REFUSALS_BORNE:
            raise fault
        self._sleep(min(LONGEST_PAUSE_SECONDS, 2.0 ** (self._failures - 1), self._seconds_left()))
        return Outage(str(fault))

    def _seconds_left(self) -> float:
        if self._deadline is None:
            return WATCH_SECONDS
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimedOut
        return min(WATCH_SECONDS, left)
