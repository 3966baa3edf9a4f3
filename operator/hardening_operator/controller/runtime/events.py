"""Events on a run or a monitor, for people: a fixed vocabulary, one event a change."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from datetime import datetime

from hardening_operator.controller.owned import together
from hardening_operator.controller.runtime.api import Api, ApiError
from hardening_operator.controller.runtime.views import ResourceView
from hardening_operator.planner.conditions import shortened, timestamp
from hardening_operator.planner.types import Event

log = logging.getLogger(__name__)
COMPONENT = "hardening-operator"
REASONS = frozenset(
    {
        "StageStarted",
        "StageSucceeded",
        "StageRetried",
        "StageDisrupted",
        "StageWaiting",
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
        "CheckStarted",
        "CheckPassed",
        "CheckFoundRegression",
        "CheckInconclusive",
        "CheckDisrupted",
        "CheckMissed",
        "CheckWaiting",
        "Regressed",
        "Resolved",
        "RerunCreated",
        "RerunRejected",
    }
)
"""All reasons an event may have."""


class EventRecorder:
    """Writes events; one that cannot be written is only logged, since the status says the same."""

    def __init__(self, api: Api, instance: str) -> None:
        self._api, self._instance = api, instance

    async def record(self, about: ResourceView, events: Iterable[Event], now: datetime) -> None:
        """Write ``events``, all at the same time: those of one decision have the same time anyway."""
        await together(*(self._tried(about, event, now) for event in events))

    async def _tried(self, about: ResourceView, event: Event, now: datetime) -> None:
        try:
            await self._record(about, event, now)
        except ApiError as error:
            log.warning("%s: event %s: %s", about.key, event.reason, error)

    async def _record(self, about: ResourceView, event: Event, now: datetime) -> None:
        """Create the event, or count it once more when the same was written before."""
        name = event_name(about, event)
        time = timestamp(now)
        document = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": about.namespace},
            "involvedObject": {
                "apiVersion": about.document["apiVersion"],
                "kind": about.document["kind"],
                "name": about.name,
                "namespace": about.namespace,
                "uid": about.uid,
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
        if await self._api.create(document) is not None:
            return
        told = await self._api.get("Event", about.namespace, name)
        if told is not None and told.get("involvedObject", {}).get("uid") == about.uid:
            change = {"count": int(told.get("count") or 1) + 1, "lastTimestamp": time}
            await self._api.merge("Event", about.namespace, name, change)


def event_name(about: ResourceView, event: Event) -> str:
    """Return the name of an event's object: the same words on the same resource always have the same."""
    words = "\n".join((about.uid, event.type, event.reason, event.message))
    return f"{about.name}.{hashlib.sha256(words.encode()).hexdigest()[:16]}"
