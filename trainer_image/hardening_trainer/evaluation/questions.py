"""What the models are asked: held-out prompts, variants of them, the bank. None of the prompts was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hardening_api.evaluation import EvaluationSet
from hardening_api.sources import DataSource
from hardening_api.stages import EvaluateConfig, Shard
from hardening_trainer.attack.variants import Variant
from hardening_trainer.data import Prompt, prompt_hash
from hardening_trainer.errors import DataFault
from hardening_trainer.inference.scoring import AnswerPair
from hardening_trainer.runtime.stage import StageContext

LISTED = 5
SCORED_SETS: tuple[EvaluationSet, ...] = ("original", "attacked")


@dataclass(frozen=True)
class Question:
    """One thing to ask a model. Questions that come from one prompt share its id: they are one cluster."""

    set: EvaluationSet
    prompt_id: str
    row: int
    """Place of the prompt in its source, from 0; it decides which shard asks."""
    prompt: str = field(repr=False)
    """The held-out prompt."""
    asked: str = field(repr=False)
    """What the model reads: the prompt itself, or a variant of it."""
    variant_index: int = 0
    status: str = "Valid"
    """Why a variant is not asked; `Valid` if it is."""
    preferred: str | None = field(default=None, repr=False)
    dispreferred: str | None = field(default=None, repr=False)

    @property
    def is_asked(self) -> bool:
        """Whether a model is asked this."""
        return self.status == "Valid"

    @property
    def has_answers(self) -> bool:
        """Whether R can be computed on it: of the prompts and their variants, where the row carries both answers."""
        return self.set in SCORED_SETS and self.preferred is not None and self.dispreferred is not None

    @property
    def pair(self) -> AnswerPair | None:
        """The prompt and answers to compute R on; None for a question without R."""
        if not (self.is_asked and self.has_answers):
            return None
        return AnswerPair(self.asked, str(self.preferred), str(self.dispreferred))


@dataclass(frozen=True)
class HeldOut:
    """This shard's held-out prompts, as questions of the sets `original` and `benign`."""

    original: list[Question]
    benign: list[Question]


def read_held_out(context: StageContext, config: EvaluateConfig) -> HeldOut:
    """Read the held-out prompts of this shard. Raises DataFault (`HeldOutOverlap`) if any was trained on.

    All of them are checked, not only this shard's: every shard then refuses alike.
    """
    trained: dict[str, str] = {}
    for source in config.training_data:
        for prompt in context.prompts(source).rows:
            trained.setdefault(prompt_hash(prompt.prompt), source.uri)
    harmful = _read(context, config.data.harmful, trained)
    benign = _read(context, config.data.benign, trained) if config.data.benign else []
    shard = context.config.shard
    original = _of_shard("original", harmful, shard)
    if config.attacks is not None:
        original = [question for question in original if not may_be_trained_on(question.prompt)]
    return HeldOut(original, _of_shard("benign", benign, shard))


def attacked_questions(prompts: Sequence[Question], drawn: Sequence[Sequence[Variant]]) -> list[Question]:
    """Return every variant of every prompt as a question; those that are not valid are not asked."""
    return [
        replace(prompt, set="attacked", asked=variant.text, variant_index=index, status=variant.status)
        for prompt, variants in zip(prompts, drawn, strict=True)
        for index, variant in enumerate(variants)
    ]


def may_be_trained_on(prompt: str) -> bool:
    """Return whether attacks made of a held-out prompt may be trained on: of one half, whatever came of them."""
    return int(prompt_hash(prompt)[-1], 16) % 2 == 0


def _read(context: StageContext, source: DataSource, trained: dict[str, str]) -> Sequence[Prompt]:
    rows = context.prompts(source).rows
    clashes = [(row, prompt) for row, prompt in enumerate(rows) if prompt_hash(prompt.prompt) in trained]
    if clashes:
        also_in = sorted({trained[prompt_hash(prompt.prompt)] for _, prompt in clashes})
        listed = ", ".join(f"row {row + 1} (id {prompt.id[:64]})" for row, prompt in clashes[:LISTED])
        more = f" and {len(clashes) - LISTED} more" if len(clashes) > LISTED else ""
        raise DataFault(
            f"{source.uri}: {listed}{more}: the same prompts are in {', '.join(also_in)}: expected held-out prompts "
            "that share none with the training data: remove them from one of the two",
            "HeldOutOverlap",
        )
    return rows


def _of_shard(name: EvaluationSet, rows: Sequence[Prompt], shard: Shard) -> list[Question]:
    return [
        Question(name, item.id, row, item.prompt, item.prompt, preferred=item.preferred, dispreferred=item.dispreferred)
        for row, item in enumerate(rows)
        if row % shard.count == shard.index
    ]
