"""The custom resources: model, names and printer columns of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardening_api.approval import PromotionApproval
from hardening_api.base import Contract
from hardening_api.crd_rules import APPROVAL_COLUMNS, MONITOR_COLUMNS, RUN_COLUMNS
from hardening_api.monitor import HardeningMonitor
from hardening_api.run import HardeningRun


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
