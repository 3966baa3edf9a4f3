"""What no status holds: the instruments of the operator's own process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hardening_operator.metrics.catalogue import BUCKETS, find
from hardening_operator.planner.types import Event

BLOCKING_EVENTS = ("GatesFailed", "GatesInconclusive", "AwaitingApproval", "ApprovalStale", "Rejected", "RunFailed")
"""Reasons of the planner's events that keep a candidate from being promoted, or put it off."""


class Instruments:
    """Counts and times what the handlers do; they call its `observe_*` methods."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self._reconciles = _made(Histogram, "hardening_reconcile_duration_seconds", registry, buckets=BUCKETS)
        self._queue = _made(Gauge, "hardening_reconcile_queue_length", registry)
        self._leader = _made(Gauge, "hardening_operator_leader", registry)
        self._promotions = _made(Counter, "hardening_promotions_total", registry)
        self._blocked = _made(Counter, "hardening_promotions_blocked_total", registry)
        _made(Gauge, "hardening_operator_info", registry).labels(version).set(1)

    def observe_reconcile(self, kind: str, outcome: str, seconds: float) -> None:
        """A resource of ``kind`` was reconciled in ``seconds``; ``outcome``: Changed, Unchanged, Conflict or Error."""
        self._reconciles.labels(kind, outcome).observe(seconds)

    def observe_queue(self, length: int) -> None:
        """So many resources wait to be reconciled."""
        self._queue.set(length)

    def observe_leadership(self, leads: bool) -> None:
        """This process leads, or stands by."""
        self._leader.set(leads)

    def observe_events(self, namespace: str, events: Iterable[Event]) -> None:
        """Count the promotions, and what kept candidates from being promoted, among a decision's events."""
        for event in events:
            if event.reason == "Promoted":
                self._promotions.labels(namespace).inc()
            elif event.reason in BLOCKING_EVENTS:
                self._blocked.labels(namespace, event.reason).inc()


def _made(kind: Any, name: str, registry: CollectorRegistry, **options: Any) -> Any:
    metric = find(name)
    return kind(name, metric.help, metric.labels, registry=registry, **options)
