"""Log-probabilities of two answers to each of many prompts: by one loaded model, or kept as they are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.inference.chat import encode_pair
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.models import ResolvedModel
from hardening_trainer.models.in_memory import ModelInMemory
from hardening_trainer.storage.resume_cache import Records

PART = 64
"""Pairs scored between two safe points to stop."""


@dataclass(frozen=True)
class AnswerPair:
    """A prompt and two answers to it."""

    prompt: str = field(repr=False)
    first: str = field(repr=False)
    second: str = field(repr=False)


@dataclass(frozen=True)
class PairLogProbs:
    """Log-probabilities (nats) of both answers, and their tokens."""

    first: float
    second: float
    first_tokens: int
    second_tokens: int
    prompt_tokens: int

    @property
    def answer_tokens(self) -> tuple[int, int]:
        """Tokens of both answers."""
        return self.first_tokens, self.second_tokens


def score_pairs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[AnswerPair]
) -> list[PairLogProbs]:
    """Score both answers of every pair. Raises ModelNotUsable where the model computes no finite number."""
    encoded = [encode_pair(tokenizer, pair.prompt, pair.first, pair.second) for pair in pairs]
    sums = answer_logprobs(
        model, [one.prompt for one in encoded], [[one.preferred, one.dispreferred] for one in encoded]
    )
    return [
        PairLogProbs(first, second, len(one.preferred), len(one.dispreferred), len(one.prompt))
        for (first, second), one in zip(sums, encoded, strict=True)
    ]


class PairScorer:
    """Scores pairs that are not scored yet, part by part; a model is loaded only when something is left for it.

    `advance(pairs, tokens)` is called after each part, and may raise Interrupted.
    """

    def __init__(
        self, in_memory: ModelInMemory, records: Records[PairLogProbs], advance: Callable[[int, int], None]
    ) -> None:
        self._in_memory, self._records, self._advance = in_memory, records, advance

    def score(self, model: ResolvedModel, pairs: Sequence[AnswerPair]) -> list[PairLogProbs]:
        """Return the log-probabilities of every pair. Equal pairs are scored once."""
        times = Counter(pairs)
        distinct = list(times)
        for start in range(0, len(distinct), PART):
            part = distinct[start : start + PART]
            found = self._missing(model, part)
            tokens = sum(one.prompt_tokens + sum(one.answer_tokens) for one in found)
            self._advance(sum(times[pair] for pair in part), tokens)
        return [self.scored(model, pair) for pair in pairs]

    def scored(self, model: ResolvedModel, pair: AnswerPair) -> PairLogProbs:
        """Return what `score` found."""
        return self._records[of_pair(model, pair)]

    def _missing(self, model: ResolvedModel, part: Sequence[AnswerPair]) -> list[PairLogProbs]:
        """Score a part in which something is missing, as a whole: figures depend on what is computed together."""
        if all(of_pair(model, pair) in self._records for pair in part):
            return []
        found = score_pairs(*self._in_memory.load(model), part)
        self._records.add({of_pair(model, pair): one for pair, one in zip(part, found, strict=True)})
        return found


def of_pair(model: ResolvedModel, pair: AnswerPair) -> tuple[str, str, str, str]:
    """Return what identifies a scored pair: the model's digest, the prompt and both answers."""
    return model.digest, pair.prompt, pair.first, pair.second
