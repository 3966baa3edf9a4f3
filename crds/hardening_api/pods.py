"""What differs in the pods of a run's stages, or in the pod of a monitor's check."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from hardening_api.base import Contract, ExpectationError, Quantity, SecretRef, ShortText
from hardening_api.stages import STAGES
from hardening_api.status import StageName

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

    def over(self, common: Resources) -> Resources:
        """Return ``common`` and over it these, name by name."""
        return Resources(limits=common.limits | self.limits, requests=common.requests | self.requests)


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

    def over(self, common: PodOverrides) -> PodOverrides:
        """Return ``common`` and over it these: maps are merged, of lists and texts these win."""
        return common.model_copy(update={name: _merged(getattr(common, name), own) for name, own in self})


def _merged(common: Any, own: Any) -> Any:
    if isinstance(common, Resources) and isinstance(own, Resources):
        return own.over(common)
    if isinstance(common, dict) and isinstance(own, dict):
        return common | own
    return own if own or common is None else common


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

    @model_validator(mode="after")
    def _shards_where_prompts_are_split(self) -> Stages:
        for info in STAGES.values():
            if not info.sharded and (self._own(info.name).shards or 1) > 1:
                field = to_camel(info.overrides)
                raise ExpectationError(f"at={field}.shards;1 or nothing: {info.name} is not split into shards")
        return self

    def of(self, stage: StageName) -> PodOverrides:
        """Return the overrides of one stage: those of all, and over them its own."""
        return self._own(stage).over(self.all)

    def resources_of(self, stage: StageName) -> Resources:
        """Return the resources of one stage: those of all, and over them its own."""
        return (self._own(stage).resources or Resources()).over(self.all.resources or Resources())

    def shards_of(self, stage: StageName) -> int:
        """Return how many shards a stage has. Score has as many as Attack, because each of its shards reads one."""
        if not STAGES[stage].sharded:
            return 1
        return self._own("Attack" if stage == "Score" else stage).shards or self.all.shards or 1

    def _own(self, stage: StageName) -> PodOverrides:
        own: PodOverrides = getattr(self, STAGES[stage].overrides)
        return own
