"""The stage contract: what a stage is given, what it leaves behind and what it reports."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hardening_api.base import (
    API_VERSION,
    ApiVersion,
    Contract,
    Count,
    Digest,
    DnsLabel,
    ExpectationError,
    Proportion,
    ShortText,
    Text,
    Timestamp,
    WorkspaceUrl,
)
from hardening_api.evaluation import CauseCounts, Evaluation, EvaluationData, EvaluationSet, PromotionTarget
from hardening_api.sources import DataSource, Endpoint, ModelSource
from hardening_api.stats import AgreementSums, MeanSums, OutcomeSums, PairedSums, RateSums
from hardening_api.status import EvaluationFigures, GateResult, StageName, TrainingFigures
from hardening_api.training import Attacker, Role, Scoring, Training

RESULT_LIMIT_BYTES = 4096
"""Kubernetes keeps at most this much of a container's termination message."""

PACKED = "zlib+base64"
"""Name of the field that holds a result too large to be written plainly."""


class ExitCode(IntEnum):
    """How a stage's process ends, as sysexits.h names it. What ends a shell's process otherwise is no code of ours."""

    OK = 0
    USAGE = 64
    """The configuration asks for what cannot be."""
    DATA = 65
    """What was read is not what was expected."""
    UNAVAILABLE = 69
    """Something outside cannot be reached just now."""
    SOFTWARE = 70
    """Anything else."""
    TEMPORARY = 75
    """Stopped with its work saved, or no room to write in: the same command resumes."""


FINAL_EXITS = frozenset({ExitCode.USAGE, ExitCode.DATA})
"""The same attempt would fail the same way: no retry."""


@dataclass(frozen=True)
class StageInfo:
    """What is known of a stage whatever run it belongs to."""

    name: StageName
    """`TrainDefender`."""
    folder: str
    """`train-defender`: its folder in the workspace, its command in the trainer, its label on Jobs and pods."""
    section: str
    """Its section of a StageConfig, and the trainer's module that runs it."""
    reports: str
    """The field of a StageResult that it must fill."""
    role: Role | None = None
    """Who is trained, in a training."""
    sharded: bool = False
    """Whether its prompts can be split over several pods; a training has nodes instead."""
    loads_models: bool = True
    """Whether it computes with models, and so gets a GPU by default."""

    @property
    def trains(self) -> bool:
        """Whether it is one of the two DPO trainings."""
        return self.role is not None

    @property
    def overrides(self) -> str:
        """Its field of `spec.stages`."""
        return self.folder.replace("-", "_")


STAGES: dict[StageName, StageInfo] = {
    info.name: info
    for info in (
        StageInfo("Attack", "attack", "attack", "attack", sharded=True),
        StageInfo("Score", "score", "score", "score", sharded=True),
        StageInfo("TrainAttacker", "train-attacker", "train", "training", role="attacker"),
        StageInfo("TrainDefender", "train-defender", "train", "training", role="defender"),
        StageInfo("Evaluate", "evaluate", "evaluate", "evaluations", sharded=True),
        StageInfo("Promote", "promote", "promote", "promotion", loads_models=False),
    )
}
"""Every stage, in the order of a round."""
TRAININGS: dict[Role, StageName] = {info.role: name for name, info in STAGES.items() if info.role is not None}
STAGE_OF_FOLDER: dict[str, StageName] = {info.folder: name for name, info in STAGES.items()}
WorkspacePath = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_./-]*$")]


class Shard(Contract):
    """Which part of the prompts a pod works on: those whose row number modulo ``count`` is ``index``."""

    index: Annotated[int, Field(ge=0, le=999)] = 0
    """From 0."""
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many shards there are."""

    @model_validator(mode="after")
    def _inside(self) -> Shard:
        if self.index >= self.count:
            raise ExpectationError(f"at=index;less than count ({self.count})")
        return self


def stage_folder(round_number: int, stage: StageName, shard: Shard | None = None) -> str:
    """Return a stage's folder, relative to the workspace: `rounds/<t>/<stage>/shard-<i>-of-<n>`."""
    part = shard or Shard()
    return f"rounds/{round_number}/{STAGES[stage].folder}/shard-{part.index}-of-{part.count}"


class Weights(Contract):
    """A model: the one of the run's spec, or one an earlier stage left in the workspace."""

    source: ModelSource | None = None
    """By URI."""
    path: WorkspacePath | None = None
    """Folder relative to the workspace."""

    @model_validator(mode="after")
    def _one(self) -> Weights:
        if (self.source is None) == (self.path is None):
            raise ExpectationError("exactly one of source, path")
        return self


class RunIdentity(Contract):
    """Which run a stage belongs to."""

    name: ShortText
    """Name of the run."""
    namespace: ShortText = "default"
    """Namespace of the run; `default` for a local one."""
    uid: ShortText = "local"
    """The object's uid."""
    spec_digest: Digest
    """Digest of the spec the stage was planned from."""


class AttackConfig(Contract):
    """Attack: sample K variants of each prompt."""

    attacker: Weights
    """Who attacks: the attacker of the round before, or the base attacker in round 1."""
    preferences: DataSource
    """Prompts to attack, with their answers."""
    attacks: DataSource | None = None
    """Attacks that succeeded before, with a safe answer: they are attacked as well."""
    settings: Attacker
    """How to sample, what to reject."""


class ScoreConfig(Contract):
    """Score: direct harmfulness of every valid variant, selection, and the training pairs of both roles."""

    attack: WorkspacePath
    """Folder of this shard's Attack stage."""
    defender: Weights
    """The defender as this round found it."""
    reference: Weights
    """DPO's and R's reference for the defender."""
    attacker_reference: Weights
    """DPO's reference for the attacker."""
    scoring: Scoring
    """alpha, epsilon, length normalisation."""
    settings: Attacker
    """The rewriting template the attacker was sampled with."""
    benign_preferences: DataSource | None = None
    """Benign pairs to mix in."""
    original_share: Annotated[float, Field(ge=0, le=10)]
    """Originals per attacked pair."""
    benign_share: Annotated[float, Field(ge=0, le=10)]
    """Benign pairs per attacked pair."""
    benign_attacked_share: Proportion = 0.0
    """Benign pairs behind a chosen lead-in, as a share of the benign ones."""


class TrainConfig(Contract):
    """TrainAttacker, TrainDefender: one DPO training."""

    role: Role
    """Who is trained."""
    initial: Weights
    """Weights to start from."""
    pairs: Annotated[list[WorkspacePath], Field(min_length=1, max_length=1000)]
    """Folders of this round's Score stage, one a shard."""
    training: Training
    """Settings, the role's overrides applied."""


class EvaluateConfig(Contract):
    """Evaluate: base (round 0) or base and candidate on the held-out prompts.

    In a monitor's check the target is the candidate, and no base is asked: what the promoted candidate answered when it
    was evaluated (`recorded`) stands for the base's answers.
    """

    base: Weights | None = None
    """The base model; None in a monitor's check."""
    candidate: Weights | None = None
    """The round's defender; None in round 0."""
    endpoint: Endpoint | None = None
    """A served model as the candidate."""
    recorded: Annotated[list[WorkspacePath], Field(max_length=1000)] = []
    """Folders of an earlier Evaluate stage, all its shards: its candidate's answers stand for the base's."""
    attacker: Weights
    """The current attacker."""
    reference: Weights
    """R's reference."""
    scoring: Scoring
    """alpha and length normalisation of R."""
    settings: Attacker
    """How the attacker samples."""
    data: EvaluationData
    """Held-out prompts."""
    training_data: Annotated[list[DataSource], Field(max_length=4)]
    """Training prompts: an overlap with the held-out ones is refused."""
    evaluation: Evaluation
    """Judges, lengths, limits."""
    base_evaluation: WorkspacePath | None = None
    """Folder of this shard's Evaluate stage of round 0; None in round 0."""
    banks: Annotated[list[WorkspacePath], Field(max_length=100)] = []
    """Folders of this shard's earlier Evaluate stages, whose successes are replayed, the newest last."""
    attacks: DataSource | None = None
    """Attacks that were trained on; the half of the held-out prompts that they are variants of is left out."""

    @model_validator(mode="after")
    def _somebody_answers(self) -> EvaluateConfig:
        if self.candidate is not None and self.endpoint is not None:
            raise ExpectationError("at=endpoint;no endpoint beside a candidate")
        if self.base is None and self.candidate is None and self.endpoint is None:
            raise ExpectationError("at=base;a base, a candidate or an endpoint")
        if self.base is not None and (self.endpoint is not None or self.recorded):
            raise ExpectationError("at=base;no base where the candidate is served or the base's answers are recorded")
        return self


class PromoteConfig(Contract):
    """Promote: copy, describe, attest, and only then move the pointer."""

    candidate: Weights
    """The checkpoint to promote."""
    candidate_digest: Digest
    """Digest of the manifest that was evaluated; a checkpoint that no longer matches is refused."""
    base: ModelSource
    """The base model."""
    targets: Annotated[list[PromotionTarget], Field(min_length=1, max_length=8)]
    """Where it goes."""
    gates: Annotated[list[GateResult], Field(min_length=1, max_length=3)]
    """The verdicts it was promoted on."""
    evaluations: Annotated[list[EvaluationFigures], Field(max_length=40)]
    """The figures of its round."""
    evaluate: Annotated[list[WorkspacePath], Field(min_length=1, max_length=1000)]
    """Folders of its Evaluate stage, whose manifests name judges and data digests."""
    approver: ShortText | None = None
    """Who approved, under manual approval."""


class CheckIdentity(Contract):
    """Which check of which monitor an Evaluate is."""

    monitor: DnsLabel
    """Name of the HardeningMonitor."""
    name: DnsLabel
    """Name of the check."""

    @property
    def folder(self) -> str:
        """The check's folder, relative to the workspace."""
        return f"monitors/{self.monitor}/{self.name}"


class StageConfig(Contract):
    """The inputs of a stage. Exactly one of the sections is given, the one of its stage."""

    api_version: ApiVersion = API_VERSION
    """Version of this contract."""
    kind: Literal["StageConfig"] = "StageConfig"
    """Kind of the document."""
    run: RunIdentity
    """Whose stage it is."""
    stage: StageName
    """Which stage."""
    round: Count
    """Which round; 0 is the base model's evaluation."""
    shard: Shard = Shard()
    """Which part of the prompts."""
    check: CheckIdentity | None = None
    """Of an Evaluate that is a monitor's check: which one. It has a folder of its own."""
    workspace: WorkspaceUrl
    """fsspec URL of the workspace."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything random in the stage."""
    attack: AttackConfig | None = None
    """For Attack."""
    score: ScoreConfig | None = None
    """For Score."""
    train: TrainConfig | None = None
    """For TrainAttacker and TrainDefender."""
    evaluate: EvaluateConfig | None = None
    """For Evaluate."""
    promote: PromoteConfig | None = None
    """For Promote."""

    @model_validator(mode="after")
    def _one_section(self) -> StageConfig:
        expected = STAGES[self.stage].section
        sections = dict.fromkeys(info.section for info in STAGES.values())
        given = [name for name in sections if getattr(self, name) is not None]
        if given != [expected]:
            raise ExpectationError(f"at={expected};the section {expected} and no other, for stage {self.stage}")
        return self

    @property
    def folder(self) -> str:
        """The stage's folder, relative to the workspace."""
        if self.check is not None:
            return f"{self.check.folder}/{STAGES[self.stage].folder}/shard-{self.shard.index}-of-{self.shard.count}"
        return stage_folder(self.round, self.stage, self.shard)

    def digest(self) -> str:
        """Digest of what decides the stage's output: everything but where the workspace is mounted."""
        document = self.to_document()
        del document["workspace"]
        return digest_of(document)


def digest_of(document: Any) -> str:
    """Return `sha256:<hex>` of ``document`` as canonical JSON."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class AttackSums(Contract):
    """What an Attack shard produced."""

    prompts: Count
    """Prompts attacked."""
    variants: Count
    """Variants sampled."""
    rejected: Annotated[dict[str, Count], Field(max_length=16)] = {}
    """Counts by reason: Empty, Duplicate, Copy, Refusal, OverLong, OffTopic."""
    diversity: MeanSums = MeanSums()
    """Distinct bigrams / bigrams by prompt."""
    self_bleu: MeanSums = MeanSums()
    """Self-BLEU by prompt."""


class ScoreSums(Contract):
    """What a Score shard found."""

    scored: Count
    """Variants scored."""
    direct_harmfulness: MeanSums
    """R of the scored variants."""
    selected: MeanSums
    """R of the chosen variants."""
    pairs: Annotated[dict[str, Count], Field(max_length=16)]
    """Training pairs by kind: attacker, attacked, original, benign."""
    dropped: Annotated[dict[str, Count], Field(max_length=16)] = {}
    """Prompts without a pair by reason: NoValidVariant, SpreadBelowEpsilon."""


class SetSums(Contract):
    """Sums of one evaluation set under one judge. Of the candidate, or of the base in round 0."""

    set: EvaluationSet
    """Evaluation set."""
    judge: ShortText
    """Name of the judge."""
    harmful: RateSums | None = None
    """harmful among harmful + safe."""
    base_harmful: RateSums | None = None
    """The same of the base."""
    harm_pairs: PairedSums | None = None
    """Candidate against base on the same prompts, where both were judged."""
    attempts: RateSums | None = None
    """Successes among all attempted variants, invalid ones failing (set `attacked`)."""
    prompts_broken: RateSums | None = None
    """Prompts with at least one success (set `attacked`)."""
    outcomes: OutcomeSums | None = None
    """Pairwise outcomes against the base."""
    refused: RateSums | None = None
    """Refusals on benign prompts."""
    base_refused: RateSums | None = None
    """The same of the base."""
    refusal_pairs: PairedSums | None = None
    """Candidate against base on the same benign prompts."""
    direct_harmfulness: MeanSums | None = None
    """R."""
    agreement: AgreementSums | None = None
    """R against the verdict (set `attacked`, first judge)."""
    asked: Count = 0
    """Verdicts asked for, errored ones included."""
    errored: Count = 0
    """Errored verdicts."""
    causes: CauseCounts = {}
    """Errored verdicts on the candidate (on the base in round 0) by cause."""
    base_causes: CauseCounts = {}
    """The same on the base, beside a candidate."""
    comparison_causes: CauseCounts = {}
    """Errored comparisons by cause."""


class PromotionRecord(Contract):
    """What was promoted."""

    digest: Digest
    """Digest of the promoted checkpoint's files."""
    path: WorkspacePath
    """Folder relative to the workspace."""
    statement: WorkspacePath
    """The in-toto statement, relative to the workspace."""


class StageResult(Contract):
    """What a stage reports, in at most 4 KiB of JSON: counts, sums, digests, timings; never text."""

    api_version: ApiVersion = API_VERSION
    """Version of this contract."""
    kind: Literal["StageResult"] = "StageResult"
    """Kind of the document."""
    stage: StageName
    """Which stage."""
    round: Count
    """Which round."""
    shard: Shard = Shard()
    """Which shard."""
    outcome: Literal["Succeeded", "Failed", "Interrupted"]
    """How it ended."""
    reason: ShortText | None = None
    """CamelCase reason when it did not succeed."""
    message: Text | None = None
    """What happened and what to do."""
    manifest: Digest | None = None
    """Digest of the manifest it committed."""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """Duration of this attempt."""
    tokens: Count = 0
    """Tokens read and written by models."""
    attack: AttackSums | None = None
    """Of Attack."""
    score: ScoreSums | None = None
    """Of Score."""
    training: TrainingFigures | None = None
    """Of TrainAttacker and TrainDefender."""
    evaluations: Annotated[list[SetSums], Field(max_length=20)] = []
    """Of Evaluate."""
    judges: Annotated[dict[str, Digest], Field(max_length=5)] = {}
    """Digests of the judges, by name; the built-in refusal pattern may be one more than the run names."""
    promotion: PromotionRecord | None = None
    """Of Promote."""
    attacks: Count = 0
    """Of a monitor's check: successful attacks it left to train on, in `attacks.jsonl`."""

    def to_message(self) -> str:
        """Return compact JSON of at most 4 KiB. Where figures need more room they are packed; a long message is cut."""
        text = self._compact(self)
        if _fits(text):
            return text
        packed = self._packed(text)
        if not _fits(packed) and self.message:
            packed = self._packed(self._compact(self.model_copy(update={"message": self.message[:200] + "..."})))
        if not _fits(packed):
            raise ValueError(f"stage result: got {len(packed.encode())} bytes: expected at most {RESULT_LIMIT_BYTES}")
        return packed

    @classmethod
    def from_message(cls, text: str) -> StageResult:
        """Read what `to_message` wrote. Raises ValueError when it is something else."""
        document = json.loads(text)
        if isinstance(document, dict) and PACKED in document:
            document = json.loads(zlib.decompress(base64.b64decode(document[PACKED], validate=True)))
        return cls.model_validate(document)

    @staticmethod
    def _packed(text: str) -> str:
        data = base64.b64encode(zlib.compress(text.encode(), level=9)).decode()
        return json.dumps({"apiVersion": API_VERSION, "kind": "StageResult", PACKED: data}, separators=(",", ":"))

    @staticmethod
    def _compact(result: StageResult) -> str:
        document = result.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        document |= {"apiVersion": result.api_version, "kind": result.kind}
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _fits(text: str) -> bool:
    return len(text.encode()) <= RESULT_LIMIT_BYTES


class FileRecord(Contract):
    """One file of a stage."""

    path: WorkspacePath
    """Relative to the stage's folder."""
    size: Count
    """Bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of its bytes."""


class Manifest(Contract):
    """Written last and atomically: no manifest, no result."""

    api_version: ApiVersion = API_VERSION
    """Version of this contract."""
    kind: Literal["Manifest"] = "Manifest"
    """Kind of the document."""
    stage: StageName
    """Which stage."""
    round: Count
    """Which round."""
    shard: Shard = Shard()
    """Which shard."""
    config: Digest
    """Digest of the StageConfig."""
    inputs: Annotated[dict[str, Digest], Field(max_length=4096)] = {}
    """Digests of what was read: models, data, other stages' manifests, judges."""
    files: Annotated[list[FileRecord], Field(max_length=4096)]
    """Everything the stage left."""
    result: StageResult
    """What it reported (without the manifest's own digest)."""
    created: Timestamp
    """When."""

    def digest(self) -> str:
        """Digest of what was produced from what: not of when, how long it took, or where."""
        document = self.to_document()
        return digest_of(
            {key: document[key] for key in ("stage", "round", "shard", "config", "inputs", "files") if key in document}
        )


STAGE_LABELS = ("run", "stage", "round")
"""Labels of each; a scrape adds the namespace and the pod, which distinguishes shards and nodes."""
GPU_LABELS = (*STAGE_LABELS, "gpu")
STAGE_GAUGES = {
    "hardening_stage_progress_ratio": "Share of the stage's units done, 0 to 1.",
    "hardening_stage_eta_seconds": "Estimated time left; NaN before there is a pace.",
    "hardening_stage_tokens_per_second": "Tokens read and written by models, per second since the start.",
    "hardening_stage_loss": "DPO loss of the latest step.",
    "hardening_stage_grad_norm": "Norm of the gradient at the latest step, before clipping.",
    "hardening_stage_learning_rate": "Learning rate of the latest step.",
    "hardening_stage_rewards_margins": "Reward of the chosen less the rejected answer, mean of the latest step.",
    "hardening_stage_rewards_accuracies": "Share of the latest step's pairs whose chosen answer has the higher reward.",
}
"""Help of each gauge by its name; those of a training only appear in one."""
STAGE_COUNTERS = {"hardening_stage_tokens_total": "Tokens read and written by models."}
STAGE_GPU_GAUGES = {
    "hardening_stage_gpu_memory_used_bytes": "Memory in use on a GPU the pod sees.",
    "hardening_stage_gpu_memory_total_bytes": "Memory of a GPU the pod sees.",
}
"""With the label gpu, the index of the GPU in the pod; absent where there is none."""
