"""PromotionApprovals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hardening_operator.cluster.extracts import Address, ApprovalExtract, approval_extract
from hardening_operator.cluster.queue import Key
from hardening_operator.cluster.reconcile import KIND


def index_approval(body: Mapping[str, Any]) -> dict[Address, ApprovalExtract]:
    """Return an approval's extract under the address of the run it names."""
    approval = approval_extract(body)
    return {(body["metadata"]["namespace"], approval.run): approval}


def handle_approval_event(body: Mapping[str, Any], wake: Callable[[Key], None]) -> None:
    """Have the run it names looked at."""
    wake(Key(KIND, body["metadata"]["namespace"], body["spec"]["run"]))
