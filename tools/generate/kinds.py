"""The custom resources: model, names and printer columns of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardening_api.approval import PromotionApproval
from hardening_api.base import Contract
from hardening_api.monitor import HardeningMonitor
from hardening_api.run import HardeningRun

RUN_COLUMNS = (
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Reason", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Progressing")].reason'},
    {"name": "Round", "type": "integer", "jsonPath": ".status.round"},
    {"name": "Harm before", "type": "number", "format": "float", "jsonPath": ".status.summary.harmBefore"},
    {"name": "Harm after", "type": "number", "format": "float", "jsonPath": ".status.summary.harmAfter"},
    {"name": "Win rate", "type": "number", "format": "float", "jsonPath": ".status.summary.winRate"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)

APPROVAL_COLUMNS = (
    {"name": "Run", "type": "string", "jsonPath": ".spec.run"},
    {"name": "Decision", "type": "string", "jsonPath": ".spec.decision"},
    {"name": "Approver", "type": "string", "jsonPath": ".spec.approver"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)

MONITOR_COLUMNS = (
    {"name": "Schedule", "type": "string", "jsonPath": ".spec.schedule"},
    {"name": "Suspend", "type": "boolean", "jsonPath": ".spec.suspend"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Regressed", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Regressed")].status'},
    {"name": "Bad", "type": "integer", "jsonPath": ".status.consecutiveBad"},
    {"name": "Last check", "type": "date", "jsonPath": ".status.lastCheckTime"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)


@dataclass(frozen=True)
class Kind:
    """One custom resource definition."""

    model: type[Contract]
    plural: str
    short: str
    columns: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """The kind itself, `HardeningRun`."""
        return self.model.__name__


KINDS = {
    kind.name: kind
    for kind in (
        Kind(HardeningRun, "hardeningruns", "hrun", RUN_COLUMNS),
        Kind(PromotionApproval, "promotionapprovals", "happ", APPROVAL_COLUMNS),
        Kind(HardeningMonitor, "hardeningmonitors", "hmon", MONITOR_COLUMNS),
    )
}
