"""Models at work, one after the other: each is loaded once, does all it has to do, and is gone before the next."""

from __future__ import annotations

import gc
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.served import ServedModel
from hardening_trainer.inference.chat import encode_pair, encode_prompt
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.inference.sampling import DEFAULT_BATCH_ROWS, SamplingParams, sample
from hardening_trainer.models import ResolvedModel, end_of_turn_ids, load_causal_lm, load_tokenizer
from hardening_trainer.runtime.resume_cache import Journal, key_of

ASKED_TOGETHER = 32
"""Questions a served model is asked between two safe points to stop."""
SCORED_TOGETHER = 32
"""Questions scored between two safe points to stop."""

Item = TypeVar("Item")
Advance = Callable[[int, int], None]
"""Called with (units done, tokens read and written) at every safe point to stop; it may raise Interrupted."""


class Answering(Protocol):
    """Whoever gave an answer: weights here, a served model, or one whose answers were recorded."""

    @property
    def digest(self) -> str:
        """Which one it is."""


@dataclass(frozen=True)
class Recorded:
    """The promoted candidate as an earlier Evaluate recorded it: it answers nothing anew."""

    digest: str


@dataclass
class Work:
    """What one model has to do: questions to answer, and questions whose given answers it scores for R."""

    model: ResolvedModel | ServedModel
    answer: list[Question] = field(default_factory=list)
    score: list[Question] = field(default_factory=list)


def merged(parts: Sequence[Work]) -> list[Work]:
    """Put the work of equal models together, so that none is loaded twice."""
    by_digest: dict[str, Work] = {}
    for part in parts:
        work = by_digest.setdefault(part.model.digest, Work(part.model))
        work.answer.extend(part.answer)
        work.score.extend(part.score)
    return list(by_digest.values())


@dataclass(frozen=True)
class Models:
    """Who answers and who scores."""

    base: ResolvedModel | None
    """None in a monitor's check."""
    candidate: ResolvedModel | ServedModel | None
    reference: ResolvedModel | None
    """None where alpha is 0: R needs none then."""

    @property
    def subject(self) -> ResolvedModel | ServedModel:
        """Whose figures these are: the candidate's, or in round 0 the base's."""
        subject = self.candidate or self.base
        assert subject is not None  # noqa: S101  # the contract: somebody answers
        return subject

    def work(self, questions: Sequence[Question], known: Container[str]) -> list[Work]:
        """Return what each model has to do, the base first; answers under the keys in `known` need not be given."""
        asked = [question for question in questions if question.is_asked]
        scored = [question for question in asked if question.is_scored]
        parts = [
            Work(model, answer=[question for question in asked if answer_key(model, question.asked) not in known])
            for model in (self.base, self.candidate)
            if model is not None
        ]
        if isinstance(self.subject, ServedModel):
            return merged(parts)  # it gives no log-probabilities
        parts.append(Work(self.subject, score=scored))
        if self.reference is not None:
            parts.append(Work(self.reference, score=scored))
        return merged(parts)


def answer_key(model: Answering, asked: str) -> str:
    """Name the greedy answer of `model` to `asked`; the journal has it as [text], or [None] where it gave none."""
    return key_of("answer", model.digest, asked)


def score_key(model: Answering, question: Question) -> str:
    """Name the log-probabilities of a question's two answers; the journal has [logp, logp, tokens, tokens]."""
    return key_of("score", model.digest, question.asked, question.preferred, question.dispreferred)


def do(work: Work, journal: Journal, max_new_tokens: int, advance: Advance) -> None:
    """Answer greedily and score all that the journal lacks. The same batches are made whatever it has already.

    Questions that ask the same are answered once. Units are questions.
    """
    answers = _by_key(work.answer, lambda question: answer_key(work.model, question.asked))
    scores = _by_key(work.score, lambda question: score_key(work.model, question))
    advance(sum(len(group) for key, group in [*answers.items(), *scores.items()] if key in journal), 0)
    if all(key in journal for key in [*answers, *scores]):
        return
    if isinstance(work.model, ServedModel):
        _ask(work.model, answers, journal, max_new_tokens, advance)
        return
    try:
        _load_and_do(work.model, answers, scores, journal, max_new_tokens, advance)
    finally:
        free_memory()


def _ask(
    model: ServedModel, groups: dict[str, list[Question]], journal: Journal, max_new_tokens: int, advance: Advance
) -> None:
    todo = [key for key in groups if key not in journal]
    for keys in chunks(todo, ASKED_TOGETHER):
        texts = model.answers([groups[key][0].asked for key in keys], max_new_tokens)
        journal.add({key: [text] for key, text in zip(keys, texts, strict=True)})
        advance(sum(len(groups[key]) for key in keys), 0)


def _load_and_do(
    resolved: ResolvedModel,
    answers: dict[str, list[Question]],
    scores: dict[str, list[Question]],
    journal: Journal,
    max_new_tokens: int,
    advance: Advance,
) -> None:
    model, tokenizer = load_causal_lm(resolved.path), load_tokenizer(resolved.path)
    _answer(model, tokenizer, answers, journal, max_new_tokens, advance)
    _score(model, tokenizer, scores, journal, advance)


def free_memory() -> None:
    """Give back what a model that nobody refers to any more has used."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _by_key(questions: Sequence[Question], key: Callable[[Question], str]) -> dict[str, list[Question]]:
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(key(question), []).append(question)
    return groups


def _answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    groups: dict[str, list[Question]],
    journal: Journal,
    max_new_tokens: int,
    advance: Advance,
) -> None:
    params = SamplingParams(temperature=0, max_new_tokens=max_new_tokens)
    ends = end_of_turn_ids(model, tokenizer)
    encoded = {key: encode_prompt(tokenizer, group[0].asked) for key, group in groups.items()}
    order = sorted(groups, key=lambda key: (len(encoded[key]), key))
    for keys in chunks(order, DEFAULT_BATCH_ROWS):
        todo = [key for key in keys if key not in journal]
        if not todo:
            continue
        prompts = [encoded[key] for key in keys]
        drawn = [variants[0].token_ids for variants in sample(model, prompts, 1, params, seed=0, eos_ids=ends)]
        texts = [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in drawn]
        journal.add({key: [text] for key, text in zip(keys, texts, strict=True) if key in todo})
        advance(sum(len(groups[key]) for key in todo), sum(map(len, prompts)) + sum(map(len, drawn)))


def _score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    groups: dict[str, list[Question]],
    journal: Journal,
    advance: Advance,
) -> None:
    for keys in chunks(sorted(groups), SCORED_TOGETHER):
        todo = [key for key in keys if key not in journal]
        if not todo:
            continue
        pairs = [_encoded(tokenizer, groups[key][0]) for key in todo]
        sums = answer_logprobs(model, [p.prompt for p in pairs], [[p.preferred, p.dispreferred] for p in pairs])
        counts = [(len(pair.preferred), len(pair.dispreferred)) for pair in pairs]
        journal.add({key: [*logps, *count] for key, logps, count in zip(todo, sums, counts, strict=True)})
        tokens = sum(len(pair.prompt) + sum(count) for pair, count in zip(pairs, counts, strict=True))
        advance(sum(len(groups[key]) for key in todo), tokens)


def _encoded(tokenizer: PreTrainedTokenizerBase, question: Question) -> Any:
    return encode_pair(tokenizer, question.asked, str(question.preferred), str(question.dispreferred))


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut `items` into parts of `size`; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
