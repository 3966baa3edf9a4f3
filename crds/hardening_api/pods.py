"""What differs in the pods of a run's stages, or in the pod of a monitor's check."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from hardening_api.base import Contract, Quantity, SecretRef, ShortText

FreeForm = Annotated[
    dict[str, Any], Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]
FreeFormList = Annotated[list[FreeForm], Field(max_length=64)]


class Resources(Contract):
    """Requests and limits of a stage's container."""

    limits: Annotated[dict[str, Quantity], Field(max_length=32)] = {}
    """Most it may use."""
    requests: Annotated[dict[str, Quantity], Field(max_length=32)] = {}
    """What is set aside for it."""


class PodOverrides(Contract):
    """What differs in a stage's pods."""

    shards: Annotated[int, Field(ge=1, le=256)] | None = None
    """Split the prompts over this many pods (Attack, Score, Evaluate)."""
    image: ShortText | None = None
    """Image of the stage."""
    resources: Resources | None = None
    """Requests and limits."""
    node_selector: Annotated[dict[str, ShortText], Field(max_length=64)] = {}
    """Node labels the pods need."""
    tolerations: FreeFormList = []
    """Kubernetes tolerations."""
    affinity: FreeForm | None = None
    """Kubernetes affinity."""
    priority_class_name: ShortText | None = None
    """Priority class."""
    runtime_class_name: ShortText | None = None
    """Runtime class."""
    service_account_name: ShortText | None = None
    """Service account; its token is not mounted."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=16)] = []
    """Secrets for the registry."""
    env: FreeFormList = []
    """Kubernetes environment variables."""
    volumes: FreeFormList = []
    """Kubernetes volumes."""
    volume_mounts: FreeFormList = []
    """Kubernetes volume mounts."""


class Stages(Contract):
    """Pod overrides, per stage or for all."""

    all: PodOverrides = PodOverrides()
    """Every stage; the stage's own overrides win."""
    attack: PodOverrides = PodOverrides()
    """Attack."""
    score: PodOverrides = PodOverrides()
    """Score."""
    train_attacker: PodOverrides = PodOverrides()
    """TrainAttacker."""
    train_defender: PodOverrides = PodOverrides()
    """TrainDefender."""
    evaluate: PodOverrides = PodOverrides()
    """Evaluate."""
    promote: PodOverrides = PodOverrides()
    """Promote."""
