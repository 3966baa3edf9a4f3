"""`PromotionApproval`: a person's decision on one candidate, as an object of its own.

RBAC says who may create one; it cannot be changed once written, and speaks of no other candidate than the one it names.
"""

from __future__ import annotations

from typing import Literal

from hardening_api.base import API_VERSION, ApiVersion, Contract, Digest, ObjectMeta, RunName, ShortText, Text


class PromotionApprovalSpec(Contract):
    """The decision."""

    run: RunName
    """Name of the HardeningRun, in the same namespace."""
    candidate: Digest
    """Digest of the candidate decided on, as `status.rounds[].candidate` gives it."""
    decision: Literal["Approved", "Rejected"] = "Approved"
    """Whether the candidate may be promoted."""
    approver: ShortText
    """Who decides; the cluster refuses any other name than the caller's own."""
    reason: Text | None = None
    """Why, for the record."""


class PromotionApproval(Contract):
    """A person's decision on one candidate of a run that awaits approval."""

    api_version: ApiVersion = API_VERSION
    """Version of this contract."""
    kind: Literal["PromotionApproval"] = "PromotionApproval"
    """Kind of the object."""
    metadata: ObjectMeta
    """Kubernetes metadata."""
    spec: PromotionApprovalSpec
    """The decision."""
