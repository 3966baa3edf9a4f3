"""The status of a `HardeningRun`: figures with intervals, never text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hardening_api.base import Contract, Count, Digest, Proportion, ShortText, Text, Timestamp
from hardening_api.evaluation import CauseCounts, EvaluationSet
from hardening_api.training import Role

Phase = Literal["Pending", "Running", "Suspended", "AwaitingApproval", "Promoting", "Promoted", "NotPromoted", "Failed"]
TERMINAL_PHASES: frozenset[Phase] = frozenset({"Promoted", "NotPromoted", "Failed"})
StageName = Literal["Attack", "Score", "TrainAttacker", "TrainDefender", "Evaluate", "Promote"]
StageState = Literal["Pending", "Running", "Succeeded", "Failed", "Stopped"]
GateVerdict = Literal["Pass", "Fail", "Inconclusive"]
RunConditionType = Literal["Accepted", "Progressing", "GatePassed", "Promoted", "Failed", "Suspended"]
DecisionWord = Literal["Continue", "Promote", "AwaitApproval", "NotPromoted", "Fail", "Approved", "Rejected"]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


class Rate(Contract):
    """A proportion with its 95 % interval."""

    value: Annotated[float, Field(ge=-1, le=1)]
    """Point estimate; a difference of two proportions may be negative."""
    lower: Annotated[float, Field(ge=-1, le=1)]
    """Lower end of the interval."""
    upper: Annotated[float, Field(ge=-1, le=1)]
    """Upper end of the interval."""
    samples: Count
    """n, the judged samples it rests on."""
    effective_samples: Annotated[float, Field(ge=0, le=1e15)] | None = None
    """n divided by the design effect of prompts that were asked several times; absent for a paired difference."""


class Mean(Contract):
    """A mean with its 95 % interval."""

    value: Number
    """Point estimate."""
    lower: Number
    """Lower end of the interval."""
    upper: Number
    """Upper end of the interval."""
    samples: Count
    """n."""


class EvaluationFigures(Contract):
    """What one judge says of one evaluation set; rates of two judges are never mixed."""

    set: EvaluationSet
    """original, attacked (current attacker), bank (past successes) or benign."""
    judge: ShortText
    """Name of the judge."""
    judge_digest: Digest | None = None
    """Digest of what decides: patterns, weights, or endpoint and prompt version."""
    harm_rate: Rate | None = None
    """harmful / (harmful + safe) of the candidate (of the base, in `status.base`)."""
    base_harm_rate: Rate | None = None
    """The same of the base model on the same prompts."""
    harm_rate_change: Rate | None = None
    """Candidate minus base, paired by prompt."""
    attack_success_rate: Rate | None = None
    """Valid variants judged harmful / all attempted variants (set `attacked`); invalid ones count as failed."""
    attack_success_rate_at_k: Rate | None = None
    """Share of prompts with at least one success among their K variants."""
    win_rate: Rate | None = None
    """win / (win + loss + tie) against the base model, both orders played."""
    win_rate_adjusted: Rate | None = None
    """(win + tie / 2) / n."""
    win_rate_decided: Rate | None = None
    """win / (win + loss)."""
    over_refusal: Rate | None = None
    """Full and partial refusals / n on benign prompts."""
    base_over_refusal: Rate | None = None
    """The same of the base model."""
    over_refusal_increase: Rate | None = None
    """Candidate minus base, paired by prompt."""
    direct_harmfulness: Mean | None = None
    """Mean R of the candidate."""
    agreement_auc: Annotated[float, Field(ge=0, le=1)] | None = None
    """AUC of R against the verdict."""
    agreement_spearman: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Rank correlation of R and the verdict."""
    errored: Count = 0
    """Errored verdicts, counted apart."""
    errored_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """errored / all asked."""
    errored_causes: CauseCounts = {}
    """Errored verdicts on the candidate (on the base, in `status.base`) by cause."""
    base_errored_causes: CauseCounts = {}
    """The same on the base model, beside a candidate."""
    errored_comparisons: Count = 0
    """Errored comparisons of candidate and base."""
    errored_comparison_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """errored / all comparisons; the win-rate gate looks at the larger of both fractions."""
    errored_comparison_causes: CauseCounts = {}
    """Errored comparisons by cause."""


class AttackFigures(Contract):
    """What the attacker produced in one round."""

    variants: Count
    """All sampled variants."""
    valid: Count
    """Variants that were scored."""
    rejected: Annotated[dict[str, Count], Field(max_length=16)] = {}
    """Counts by reason: Empty, Duplicate, Copy, Refusal, OverLong, OffTopic."""
    diversity: Mean | None = None
    """Distinct bigrams / bigrams among a prompt's variants, averaged over prompts."""
    self_bleu: Mean | None = None
    """BLEU-4 of each variant against the prompt's others, averaged; high means alike."""
    direct_harmfulness: Mean | None = None
    """Mean R of the valid variants."""
    selected_direct_harmfulness: Mean | None = None
    """Mean R of the chosen variants."""


class GateResult(Contract):
    """One gate's verdict."""

    gate: Literal["winRate", "harmRate", "overRefusal"]
    """Which gate."""
    verdict: GateVerdict
    """Pass, Fail or Inconclusive; only Pass promotes."""
    judge: ShortText | None = None
    """Whose figure."""
    value: Number | None = None
    """The end of the interval that was compared."""
    limit: Number
    """What it was compared with."""
    samples: Count = 0
    """n."""
    message: Text
    """The decision in words."""


class StageStatus(Contract):
    """One stage of one round."""

    stage: StageName
    """Which stage."""
    state: StageState
    """Where it stands."""
    attempts: Count = 0
    """Times it was started."""
    disruptions: Count = 0
    """Attempts that ended by eviction, preemption, loss or suspension; they do not count against `backoffLimit`."""
    retry_time: Timestamp | None = None
    """When a stage that failed is started again; not before."""
    start_time: Timestamp | None = None
    """First start."""
    completion_time: Timestamp | None = None
    """End."""
    seconds: Seconds | None = None
    """Duration, from first start to end."""
    tokens: Count | None = None
    """Tokens read and written by the model."""
    reason: ShortText | None = None
    """CamelCase reason of a failure or a retry."""
    message: Text | None = None
    """What happened and what to do."""
    digest: Digest | None = None
    """Digest of the stage's manifest or manifests."""


class TrainingFigures(Contract):
    """What one DPO training reported."""

    role: Role
    """Who was trained."""
    pairs: Count
    """Pairs trained on."""
    steps: Count
    """Optimizer steps."""
    tokens: Count
    """Tokens seen."""
    loss: Number | None = None
    """Mean loss of the last tenth of the steps."""
    rewards_margins: Number | None = None
    """Mean `rewards/margins` of the last tenth of the steps."""
    rewards_accuracies: Number | None = None
    """Mean `rewards/accuracies` of the last tenth of the steps."""


class RoundStatus(Contract):
    """One round."""

    round: Count
    """Number, from 1; 0 is the evaluation of the base model."""
    stages: Annotated[list[StageStatus], Field(max_length=8)] = []
    """Its stages."""
    attack: AttackFigures | None = None
    """What the attacker produced."""
    trainings: Annotated[list[TrainingFigures], Field(max_length=2)] = []
    """Both DPO trainings."""
    evaluations: Annotated[list[EvaluationFigures], Field(max_length=40)] = []
    """Figures by evaluation set and judge."""
    gates: Annotated[list[GateResult], Field(max_length=3)] = []
    """Verdicts on this round's candidate."""
    verdict: GateVerdict | None = None
    """Pass only when every gate passes."""
    candidate: Digest | None = None
    """Digest of the candidate."""

    @property
    def first_figures(self) -> dict[EvaluationSet, EvaluationFigures]:
        """Each set's figures under the first judge that has any."""
        first: dict[EvaluationSet, EvaluationFigures] = {}
        for figures in self.evaluations:
            first.setdefault(figures.set, figures)
        return first


class StageProgress(Contract):
    """Where a running stage stands."""

    stage: StageName
    """Which stage."""
    round: Count
    """Which round."""
    ratio: Annotated[float, Field(ge=0, le=1)]
    """Share done."""
    eta_seconds: Seconds | None = None
    """Estimated time left."""


class Condition(Contract):
    """A Kubernetes condition. The kinds narrow its type."""

    type: ShortText
    """What it is about."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: ShortText
    """CamelCase word."""
    message: Text
    """The same in words, with figures."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Count | None = None
    """Generation of the spec it speaks of."""


class RunCondition(Condition):
    """A Kubernetes condition."""

    type: RunConditionType
    """What it is about."""


class BestRound(Contract):
    """The best candidate so far, or the promoted one."""

    round: Count
    """Its round."""
    digest: Digest
    """Digest of its checkpoint."""
    uri: Text | None = None
    """Where it is, relative to the workspace."""


class RunDecision(Contract):
    """One decision and why it was taken."""

    time: Timestamp
    """When."""
    round: Count
    """On which round."""
    decision: DecisionWord
    """What was decided."""
    reason: ShortText
    """CamelCase word."""
    message: Text
    """In words, with figures."""
    approver: ShortText | None = None
    """Who approved or rejected."""


class RunSummary(Contract):
    """The run in three figures, for `kubectl get` and lists: harm rates under attack, by the first judge."""

    harm_before: Proportion | None = None
    """Harm rate of the base model, under the same attacks."""
    harm_after: Proportion | None = None
    """Harm rate of the promoted candidate, or of the latest one."""
    win_rate: Proportion | None = None
    """Win rate of the same candidate over the base model."""


class HardeningRunStatus(Contract):
    """What was observed of a run."""

    conditions: Annotated[list[RunCondition], Field(max_length=8)] = []
    """The state, one condition a question."""
    phase: Phase = "Pending"
    """Summary of the conditions."""
    observed_generation: Count | None = None
    """Generation of the spec this status speaks of."""
    start_time: Timestamp | None = None
    """When the first stage was started."""
    completion_time: Timestamp | None = None
    """When a terminal phase was reached."""
    round: Count = 0
    """Current round; 0 while the base model is evaluated."""
    summary: RunSummary | None = None
    """Harm before and after, and the win rate."""
    progress: Annotated[list[StageProgress], Field(max_length=4)] = []
    """Running stages."""
    base: RoundStatus | None = None
    """The base model's evaluation."""
    rounds: Annotated[list[RoundStatus], Field(max_length=100)] = []
    """One entry a round."""
    best: BestRound | None = None
    """The best candidate that passed every gate so far."""
    promoted: BestRound | None = None
    """The promoted checkpoint."""
    decisions: Annotated[list[RunDecision], Field(max_length=256)] = []
    """Everything decided, in order."""

    @property
    def entries(self) -> list[RoundStatus]:
        """The base model's evaluation, where there is one, and the rounds."""
        return [entry for entry in (self.base, *self.rounds) if entry is not None]

    @property
    def headline_round(self) -> RoundStatus | None:
        """The round whose figures speak for the run: the promoted one, else the last that was evaluated."""
        wanted = self.promoted.round if self.promoted is not None else None
        measured = [entry for entry in self.rounds if entry.evaluations and wanted in (None, entry.round)]
        return measured[-1] if measured else None
