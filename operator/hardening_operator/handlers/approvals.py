"""PromotionApprovals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hardening_operator.cluster.extracts import ApprovalExtract, approval_extract
from hardening_operator.cluster.queue import RUN, Key


def index_approval(body: Mapping[str, Any]) -> dict[Key, ApprovalExtract]:
    """Return an approval's extract under the run it names."""
    approval = approval_extract(body)
    return {Key(RUN, body["metadata"]["namespace"], approval.run): approval}


def handle_approval_event(body: Mapping[str, Any], wake: Callable[[Key], None]) -> None:
    """Have the run it names looked at."""
    wake(Key(RUN, body["metadata"]["namespace"], body["spec"]["run"]))
