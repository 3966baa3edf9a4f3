"""`HardeningRun`: one run of Adversarial Preference Learning on one model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hardening_api.base import (
    API_VERSION,
    ApiVersion,
    Contract,
    DnsLabel,
    ExpectationError,
    ObjectMeta,
    Quantity,
    S3Uri,
    SecretRef,
    ShortText,
)
from hardening_api.evaluation import Evaluation, EvaluationData, Promotion
from hardening_api.pods import Stages
from hardening_api.sources import DataSource, ModelSource
from hardening_api.status import HardeningRunStatus
from hardening_api.training import Attacker, Scoring, Training


class Data(Contract):
    """Training preferences and held-out prompts."""

    preferences: DataSource
    """Rows of prompt, preferred (safe) answer, dispreferred (harmful) answer."""
    benign_preferences: DataSource | None = None
    """Rows of benign prompt, helpful answer, refusal: they hold over-refusal down."""
    attacks: DataSource | None = None
    """Attacks that succeeded, as a monitor's check left them (`attacks.jsonl`): further rows of `preferences`. They are
    variants of one half of the held-out prompts, so only the other half is held out then."""
    evaluation: EvaluationData
    """Held-out prompts."""


class ClaimTemplate(Contract):
    """A PersistentVolumeClaim to create, or one that exists."""

    claim_name: DnsLabel | None = None
    """Name of an existing claim; nothing is created then."""
    size: Quantity | None = None
    """Size of the claim to create."""
    storage_class_name: ShortText | None = None
    """Storage class of the claim to create."""
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = "ReadWriteMany"
    """With ReadWriteOnce all pods of the run are placed on one node."""

    @model_validator(mode="after")
    def _given_or_created(self) -> ClaimTemplate:
        if (self.claim_name is None) == (self.size is None):
            raise ExpectationError("exactly one of claimName, size")
        return self


class S3Workspace(Contract):
    """A bucket prefix."""

    uri: S3Uri
    """`s3://bucket/prefix`."""
    endpoint_url: ShortText | None = None
    """Address of an S3-compatible server."""
    secret_ref: SecretRef | None = None
    """Secret with the credentials."""


class Workspace(Contract):
    """Where the run keeps its tables and weights; the only place with prompt and answer text."""

    persistent_volume_claim: ClaimTemplate | None = None
    """A volume."""
    s3: S3Workspace | None = None
    """A bucket prefix."""

    @model_validator(mode="after")
    def _one_place(self) -> Workspace:
        if self.persistent_volume_claim is not None and self.s3 is not None:
            raise ExpectationError("one workspace: either persistentVolumeClaim or s3, not both")
        return self


CHANGEABLE = frozenset({"suspend", "active_deadline_seconds", "ttl_seconds_after_finished"})
"""Fields of a spec that may change while a run is under way; everything else is fixed by its first stage."""
DECIDES_NO_OUTPUT = CHANGEABLE | {"backoff_limit", "stages"}
"""Fields that two runs with the same outputs may differ in: how often, and where, their stages run."""


class HardeningRunSpec(Contract):
    """What to harden, with what, and when it is good enough."""

    model: ModelSource
    """The base model; the defender starts from it."""
    attacker: Attacker = Attacker()
    """The attacker and how it samples."""
    data: Data
    """Training preferences and held-out prompts."""
    rounds: Annotated[int, Field(ge=1, le=100)] = 3
    """T, the most rounds to run."""
    scoring: Scoring = Scoring()
    """Direct harmfulness R."""
    training: Training = Training()
    """Both DPO trainings."""
    evaluation: Evaluation = Evaluation()
    """Judges and measurement."""
    promotion: Promotion = Promotion()
    """Gates, approval and targets."""
    workspace: Workspace = Workspace()
    """Where tables and weights are kept. Local runs use a local folder instead."""
    stages: Stages = Stages()
    """Pod overrides."""
    suspend: bool = False
    """Stop the running stages (they save) and start none until this is false again."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Fail the run when it takes longer."""
    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """Retries of one stage; disruptions do not count."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] | None = None
    """Delete the finished run's Jobs after this time."""

    @model_validator(mode="after")
    def _judges_are_distinct_and_known(self) -> HardeningRunSpec:
        names = [judge.name for judge in self.evaluation.judges]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ExpectationError(f"at=evaluation.judges.{index}.name;a name no other judge has")
        gates = self.promotion.gates
        for field, gate in (
            ("winRate", gates.win_rate),
            ("harmRate", gates.harm_rate),
            ("overRefusal", gates.over_refusal),
        ):
            if gate is not None and gate.judge is not None and gate.judge not in names:
                known = ", ".join(names)
                raise ExpectationError(
                    f"at=promotion.gates.{field}.judge;the name of a judge in evaluation.judges ({known})"
                )
        return self

    @model_validator(mode="after")
    def _scores_where_it_attacks(self) -> HardeningRunSpec:
        count = self.stages.shards_of("Attack")
        if self.stages.score.shards not in (None, count):
            raise ExpectationError(
                "at=stages.score.shards;as many shards as Attack has, or nothing: a shard of Score reads one of "
                f"Attack's, which has {count}"
            )
        return self

    @model_validator(mode="after")
    def _over_refusal_has_prompts(self) -> HardeningRunSpec:
        gates_given = "promotion" in self.model_fields_set and "gates" in self.promotion.model_fields_set
        if gates_given and self.promotion.gates.over_refusal is not None and self.data.evaluation.benign is None:
            raise ExpectationError(
                "at=data.evaluation.benign;benign prompts, as promotion.gates.overRefusal is measured on them"
            )
        return self


class HardeningRun(Contract):
    """One run of Adversarial Preference Learning on one model."""

    api_version: ApiVersion = API_VERSION
    """Version of this contract."""
    kind: Literal["HardeningRun"] = "HardeningRun"
    """Kind of the object."""
    metadata: ObjectMeta
    """Kubernetes metadata."""
    spec: HardeningRunSpec
    """What is wanted."""
    status: HardeningRunStatus | None = None
    """What was observed; written by the operator only."""
