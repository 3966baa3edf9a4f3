"""Log-probabilities of answer pairs under a model, kept as they come, so that an interrupted stage asks none twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardening_trainer.chat import EncodedPair, encode_pair
from hardening_trainer.evaluation.journal import Journal, key_of
from hardening_trainer.models import ResolvedModel, load_causal_lm, load_tokenizer
from hardening_trainer.progress import Progress
from hardening_trainer.scoring import answer_logprobs

SCORED_TOGETHER = 64
"""Pairs scored between two safe points to stop."""
Texts = tuple[str, str, str]
"""Prompt, preferred answer, dispreferred answer."""


@dataclass(frozen=True)
class PairLogps:
    """Summed log-probabilities (nats) of two answers to one prompt, and their numbers of tokens."""

    preferred: float
    dispreferred: float
    token_counts: tuple[int, int]


class PairScorer:
    """Scores pairs under one model after the other; never two in memory."""

    def __init__(self, path: Path, check: Callable[[], None], progress: Progress) -> None:
        self._journal, self._check, self._progress = Journal(path, {}), check, progress
        self._planned = 0

    def expect(self, pairs: int) -> None:
        """Say how many pairs there will be in all, about."""
        self._planned = pairs
        self._progress.total(pairs)

    def logps(self, model: ResolvedModel, texts: Sequence[Texts]) -> list[PairLogps]:
        """Return the log-probabilities of ``texts`` under ``model``, asking only for what is not known."""
        keys = [key_of(model.digest, *text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._journal}
        self._progress.advance(len(texts) - len(missing))
        if missing:
            self._ask(model, missing)
        return [PairLogps(*(found := self._journal[key])[:2], (found[2], found[3])) for key in keys]

    def _ask(self, resolved: ResolvedModel, missing: dict[str, Texts]) -> None:
        model, tokenizer = load_causal_lm(resolved.path), load_tokenizer(resolved.path)
        pairs = {key: encode_pair(tokenizer, *text) for key, text in missing.items()}
        order = sorted(pairs, key=lambda key: (pairs[key].prompt, key))
        for start in range(0, len(order), SCORED_TOGETHER):
            self._check()
            keys = order[start : start + SCORED_TOGETHER]
            chunk = [pairs[key] for key in keys]
            sums = answer_logprobs(model, [p.prompt for p in chunk], [[p.preferred, p.dispreferred] for p in chunk])
            self._journal.add({key: [*logps, *_counts(pairs[key])] for key, logps in zip(keys, sums, strict=True)})
            self._progress.advance(len(keys), sum(len(pair.prompt) + sum(_counts(pair)) for pair in chunk))


def _counts(pair: EncodedPair) -> tuple[int, int]:
    return len(pair.preferred), len(pair.dispreferred)
