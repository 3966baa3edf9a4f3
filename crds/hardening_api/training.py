"""The attacker, the scoring and the two DPO trainings of a `HardeningRun`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hardening_api.base import Contract, ExpectationError, Proportion
from hardening_api.sources import ModelSource

Role = Literal["attacker", "defender"]
"""The two models that a run trains."""
Positive = Annotated[float, Field(gt=0, le=1e6)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Interpolation = Annotated[float, Field(gt=0, le=1)]


class Sampling(Contract):
    """How the attacker samples variants."""

    temperature: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Softmax temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Nucleus sampling: keep the smallest set of tokens with this probability."""
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    """Longest variant, in tokens."""


class Attacker(Contract):
    """The model that rewrites each prompt into K adversarial variants."""

    model: ModelSource | None = None
    """Defaults to `spec.model`."""
    variants_per_prompt: Annotated[int, Field(ge=2, le=64)] = 4
    """K, the number of variants sampled for each prompt."""
    prompts_per_round: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Attack this many prompts a round, a different share each round; the default is all of them."""
    sampling: Sampling = Sampling()
    """How variants are sampled."""
    template: Literal["rewrite-v1", "lead-in-v1"] = "rewrite-v1"
    """Versioned instruction: reword the request, or (small attackers) write a sentence to stand before it."""
    min_faithfulness: Proportion = 0.5
    """Share of the prompt's content words a variant must keep, else it counts as off topic; 0 is no check."""
    min_diversity: Proportion = 0.2
    """Warn when distinct bigrams over all bigrams of the variants fall below this."""


class Scoring(Contract):
    """Direct harmfulness R and the selection made from it."""

    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Weight of the reference term. Below 1: in round 1 the defender is its own reference, so at 1 R would be zero for
    every variant, and above 1 their order would be turned round."""
    length_normalize: bool = False
    """Divide each log-probability by its number of answer tokens."""
    epsilon: Annotated[float, Field(ge=0, le=1e6)] = 0.1
    """Drop a prompt whose variants' R differ by less than this, in nats."""
    pairs_per_prompt: Annotated[int, Field(ge=1, le=32)] = 1
    """Most attacker pairs made of one prompt: highest R against lowest, second highest against second lowest, ...; then
    highest R against invalid variants, which keeps the attacker from unlearning to write valid ones."""


class DeepSpeed(Contract):
    """DeepSpeed's ZeRO."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    """0 plain data parallel, 1 shards optimizer state, 2 gradients as well, 3 parameters as well."""
    config: Annotated[
        dict[str, Any], Field(max_length=256, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = {}
    """DeepSpeed JSON merged over ours."""


class Lora(Contract):
    """Low-rank adapters (PEFT), merged into the weights when a training ends."""

    r: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank."""
    alpha: Annotated[int, Field(ge=1, le=4096)] = 32
    """Scale: the adapter is multiplied by alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""


class RoleTraining(Contract):
    """Settings of one role's training that differ from `spec.training`."""

    learning_rate: LearningRate | None = None
    """Overrides `spec.training.learningRate`."""
    beta: Positive | None = None
    """Overrides `spec.training.beta`."""
    nll_weight: Annotated[float, Field(ge=0, le=100)] | None = None
    """Overrides `spec.training.nllWeight`."""
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Overrides `spec.training.epochs`."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Overrides `spec.training.batchSize`."""
    method: Literal["LoRA", "Full"] | None = None
    """Overrides `spec.training.method`."""
    upper_layers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Overrides `spec.training.upperLayers`."""
    interpolation: Interpolation | None = None
    """Overrides `spec.training.interpolation`."""


class Training(Contract):
    """Both DPO trainings; `attacker` and `defender` override for one role."""

    method: Literal["LoRA", "Full"] = "LoRA"
    """Train low-rank adapters or all weights."""
    lora: Lora = Lora()
    """Used when method is LoRA."""
    upper_layers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Train (or adapt) only this many layers nearest the output, which halves the cost; the default is all of them."""
    interpolation: Interpolation = 1.0
    """Keep this much of what a training changed: the weights saved lie so far on the line from the ones it started from
    to the ones it reached. Below 1 gives back some hardness, and over-refusal with it (WiSE-FT, arXiv 2109.01903)."""
    reference: Literal["Base", "PreviousRound"] = "Base"
    """What DPO's reference and R's reference are: the base model or the model this round started from."""
    order: Literal["Parallel", "AttackerFirst", "DefenderFirst"] = "Parallel"
    """Order of the two trainings of a round; they do not depend on each other."""
    beta: Positive = 0.1
    """DPO's inverse temperature."""
    learning_rate: LearningRate = 5e-6
    """Peak learning rate."""
    nll_weight: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Weight of a negative log-likelihood term on the chosen answer (RPO)."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """Passes over the round's pairs."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    """Pairs per optimizer step on one device."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=4096)] = 1
    """Micro-batches per optimizer step; they share `batchSize` out evenly."""
    warmup_ratio: Proportion = 0.1
    """Share of the steps with a rising learning rate."""
    lr_scheduler: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """Learning-rate schedule."""
    max_grad_norm: Positive = 1.0
    """Gradient clipping."""
    max_length: Annotated[int, Field(ge=16, le=1_000_000)] = 1024
    """Longest prompt plus answer, in tokens; longer pairs are dropped and counted."""
    original_share: Proportion = 0.5
    """Original (not attacked) pairs, as a share of the attacked ones."""
    benign_share: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Benign pairs (helpful over refusal), as a share of the attacked ones; needs `data.benignPreferences`."""
    benign_attacked_share: Proportion = 0.5
    """Share of the benign pairs that stand behind a lead-in chosen for a harmful prompt, so that the lead-in itself is
    no cue to refuse; needs a template that keeps the request."""
    attacker: RoleTraining = RoleTraining()
    """Overrides for the attacker's training."""
    defender: RoleTraining = RoleTraining()
    """Overrides for the defender's training."""
    engine: Literal["DeepSpeed", "Torch"] = "DeepSpeed"
    """DeepSpeed, or plain PyTorch where one small device is enough."""
    deepspeed: DeepSpeed = DeepSpeed()
    """Used when engine is DeepSpeed."""
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Nodes of one training."""
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs of each node; 0 trains on CPU."""
    processes_per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    """Training processes of each node; the default is one per GPU, or one."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of sampling, shuffling and training."""
    checkpoint_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Save a checkpoint to resume from every this many steps."""

    @model_validator(mode="after")
    def _batches_divide(self) -> Training:
        sizes = {"": self.batch_size, "attacker.": self.attacker.batch_size, "defender.": self.defender.batch_size}
        steps = self.gradient_accumulation_steps
        for place, size in sizes.items():
            if size is not None and size % steps:
                raise ExpectationError(f"at={place}batchSize;a multiple of gradientAccumulationSteps, {steps}")
        return self

    @property
    def processes(self) -> int:
        """Training processes of each node."""
        return self.processes_per_node or max(1, self.gpus_per_node)

    def for_role(self, role: Role) -> Training:
        """Return these settings with the overrides of ``role`` applied."""
        overrides: RoleTraining = getattr(self, role)
        given = {name: value for name, value in overrides if value is not None}
        return self.model_copy(update=given)
