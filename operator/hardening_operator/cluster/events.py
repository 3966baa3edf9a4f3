"""Events on a run, for people: a fixed vocabulary, told once a change."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from datetime import datetime

from hardening_operator.cluster.api import Api, ApiError
from hardening_operator.cluster.extracts import RunExtract
from hardening_operator.conditions import shortened, timestamp
from hardening_operator.observed import Event

log = logging.getLogger(__name__)
COMPONENT = "hardening-operator"
REASONS = frozenset(
    {
        "StageStarted",
        "StageSucceeded",
        "StageRetried",
        "StageDisrupted",
        "GatesPassed",
        "GatesFailed",
        "GatesInconclusive",
        "NextRound",
        "AwaitingApproval",
        "Approved",
        "Rejected",
        "ApprovalStale",
        "Promoting",
        "Promoted",
        "NotPromoted",
        "RunFailed",
        "Suspended",
        "Resumed",
        "SpecInvalid",
        "StatusUnreadable",
    }
)
"""All reasons an event may have."""


class EventRecorder:
    """Writes events; one that cannot be written is only logged, since the status says the same."""

    def __init__(self, api: Api, instance: str) -> None:
        self._api, self._instance = api, instance

    async def record(self, run: RunExtract, events: Iterable[Event], now: datetime) -> None:
        """Write ``events``, one after the other, so that they are listed in order."""
        for event in events:
            try:
                await self._record(run, event, now)
            except ApiError as error:
                log.warning("HardeningRun %s/%s: event %s: %s", run.namespace, run.name, event.reason, error)

    async def _record(self, run: RunExtract, event: Event, now: datetime) -> None:
        """Create the event, or count it once more when the same was told before."""
        name = event_name(run, event)
        time = timestamp(now)
        document = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": run.namespace},
            "involvedObject": {
                "apiVersion": run.document["apiVersion"],
                "kind": run.document["kind"],
                "name": run.name,
                "namespace": run.namespace,
                "uid": run.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": shortened(event.message),
            "count": 1,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }
        if await self._api.create(document):
            return
        told = await self._api.get("Event", run.namespace, name)
        if told is not None:
            change = {"count": int(told.get("count") or 1) + 1, "lastTimestamp": time}
            await self._api.merge("Event", run.namespace, name, change)


def event_name(run: RunExtract, event: Event) -> str:
    """Return the name of an event's object: the same words on the same run always have the same."""
    words = "\n".join((run.uid, event.type, event.reason, event.message))
    return f"{run.name}.{hashlib.sha256(words.encode()).hexdigest()[:16]}"
