"""The answers of each model, which is loaded once and does all its work before the next one is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hardening_api.training import Scoring
from hardening_trainer.errors import DataFault
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.records import Answer, Findings, Recorded, Subject, of_answer
from hardening_trainer.evaluation.served import ServedModel
from hardening_trainer.inference.chat import encode_prompt
from hardening_trainer.inference.logprobs import direct_harmfulness
from hardening_trainer.inference.sampling import DEFAULT_BATCH_ROWS, SamplingParams, sample
from hardening_trainer.inference.scoring import PairScorer, of_pair
from hardening_trainer.judges import CompareRow, JudgeRow
from hardening_trainer.models import ResolvedModel, end_of_turn_ids
from hardening_trainer.models.in_memory import ModelInMemory

ASKED_TOGETHER = 32
"""Questions a served model is asked between two safe points to stop."""

Item = TypeVar("Item")
Advance = Callable[[int, int], None]
"""Called with (units done, tokens read and written) at every safe point to stop; it may raise Interrupted."""


@dataclass
class Work:
    """The work of one model: the questions to answer, and those to score for R by the answers they come with."""

    model: ResolvedModel | ServedModel
    answer: list[Question] = field(default_factory=list)
    score: list[Question] = field(default_factory=list)


@dataclass(frozen=True)
class Participants:
    """The models that answer and the models that score."""

    base: ResolvedModel | Recorded | None
    """In a monitor's check what was recorded, or None."""
    candidate: ResolvedModel | ServedModel | None
    """None in round 0."""
    reference: ResolvedModel | None
    """None where alpha is 0: R needs none then."""

    @property
    def subject(self) -> ResolvedModel | ServedModel:
        """The model that the figures describe: the candidate, or in round 0 the base."""
        if self.candidate is not None:
            return self.candidate
        assert isinstance(self.base, ResolvedModel)  # noqa: S101  # the contract: somebody answers
        return self.base

    @property
    def answering(self) -> list[ResolvedModel | ServedModel]:
        """The models that are asked, the base first."""
        return [model for model in (self.base, self.candidate) if not isinstance(model, Recorded | None)]

    @property
    def scoring(self) -> list[ResolvedModel]:
        """The models that score for R; a served model gives no log-probabilities."""
        if isinstance(self.subject, ServedModel):
            return []
        return [self.subject, *([self.reference] if self.reference is not None else [])]

    @property
    def judged(self) -> int:
        """How many answers to each question are judged."""
        return (self.base is not None) + (self.candidate is not None)

    @property
    def compared(self) -> bool:
        """Whether answers of base and candidate are compared with each other, beyond their verdicts."""
        return self.candidate is not None and isinstance(self.base, ResolvedModel)

    def work(self, questions: Sequence[Question]) -> list[Work]:
        """Return what each model has to do; the work of equal models is put together."""
        asked = [question for question in questions if question.is_asked]
        scored = [question for question in asked if question.pair is not None]
        by_digest: dict[str, Work] = {}
        for model in self.answering:
            by_digest.setdefault(model.digest, Work(model)).answer.extend(asked)
        for model in self.scoring:
            by_digest.setdefault(model.digest, Work(model)).score.extend(scored)
        return list(by_digest.values())

    def units(self, question: Question) -> int:
        """Count what `do` advances by for a question, if it is asked."""
        return len(self.answering) + (len(self.scoring) if question.has_answers else 0)


def do(work: Work, findings: Findings, in_memory: ModelInMemory, max_new_tokens: int, advance: Advance) -> None:
    """Answer greedily and score whatever is missing. The batches do not depend on what this stage has already.

    Questions that ask the same are answered once. Units are questions.
    """
    groups: dict[tuple[str, str], list[Question]] = {}
    for question in work.answer:
        groups.setdefault(of_answer(work.model, question.asked), []).append(question)
    known = [of for of in groups if findings.answers.is_known(of)]
    advance(sum(len(groups.pop(of)) for of in known), 0)
    there = [of for of in groups if of in findings.answers]
    advance(sum(len(groups[of]) for of in there), 0)
    if isinstance(work.model, ServedModel):
        _ask(work.model, groups, findings, max_new_tokens, advance)
        return
    if len(there) < len(groups):
        _answer(work.model, groups, findings, in_memory, max_new_tokens, advance)
    model = work.model
    pairs = [pair for question in work.score if (pair := question.pair) is not None]
    pairs.sort(key=lambda pair: findings.logprobs.key(of_pair(model, pair)))
    PairScorer(in_memory, findings.logprobs, advance).score(model, pairs)


def _ask(
    model: ServedModel,
    groups: dict[tuple[str, str], list[Question]],
    findings: Findings,
    max_new_tokens: int,
    advance: Advance,
) -> None:
    for several in chunks([of for of in groups if of not in findings.answers], ASKED_TOGETHER):
        texts = model.answers([asked for _, asked in several], max_new_tokens)
        findings.answers.add({of: Answer(text) for of, text in zip(several, texts, strict=True)})
        advance(sum(len(groups[of]) for of in several), 0)


def _answer(
    resolved: ResolvedModel,
    groups: dict[tuple[str, str], list[Question]],
    findings: Findings,
    in_memory: ModelInMemory,
    max_new_tokens: int,
    advance: Advance,
) -> None:
    model, tokenizer = in_memory.load(resolved)
    params = SamplingParams(temperature=0, max_new_tokens=max_new_tokens)
    ends = end_of_turn_ids(model, tokenizer)
    encoded = {of: encode_prompt(tokenizer, of[1]) for of in groups}
    order = sorted(groups, key=lambda of: (len(encoded[of]), findings.answers.key(of)))
    for batch in chunks(order, DEFAULT_BATCH_ROWS):
        todo = [of for of in batch if of not in findings.answers]
        if not todo:
            continue
        prompts = [encoded[of] for of in batch]
        drawn = [variants[0].token_ids for variants in sample(model, prompts, 1, params, seed=0, eos_ids=ends)]
        texts = [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in drawn]
        findings.answers.add({of: Answer(text) for of, text in zip(batch, texts, strict=True) if of in todo})
        advance(sum(len(groups[of]) for of in todo), sum(map(len, prompts)) + sum(map(len, drawn)))


@dataclass(frozen=True)
class Answers:
    """Looks up what base and candidate answered, and R; in round 0 there is no candidate: the base is the subject."""

    findings: Findings
    participants: Participants
    scoring: Scoring

    def of_base(self, question: Question) -> str | None:
        """Return the base's answer; None where it was not recorded."""
        return self._of(self.participants.base, question)

    def of_candidate(self, question: Question) -> str | None:
        """Return the candidate's answer; None where there is no candidate, or a served one gave none."""
        return self._of(self.participants.candidate, question)

    def _of(self, subject: Subject | None, question: Question) -> str | None:
        if subject is None:
            return None
        of = of_answer(subject, question.asked)
        if isinstance(subject, Recorded) and of not in self.findings.answers:
            return None
        return self.findings.answers[of].text

    def to_judge(self, question: Question) -> list[JudgeRow]:
        """Return what a judge reads of one question. A variant's answer is judged against the prompt it is of."""
        answers = [self.of_base(question), self.of_candidate(question)]
        return [JudgeRow(question.prompt, answer) for answer in answers if answer is not None]

    def to_compare(self, question: Question) -> CompareRow:
        """Return both answers, with what was asked for them."""
        return CompareRow(question.asked, str(self.of_candidate(question)), str(self.of_base(question)))

    def harmfulness(self, question: Question) -> float | None:
        """Return R of a question; None without its answers, and of a served model. Raises DataFault if not finite."""
        subject, reference = self.participants.subject, self.participants.reference
        if question.pair is None or isinstance(subject, ServedModel):
            return None
        found = self.findings.logprobs[of_pair(subject, question.pair)]
        theirs = self.findings.logprobs[of_pair(reference, question.pair)] if reference is not None else None
        value = direct_harmfulness(
            found.first,
            found.second,
            theirs.first if theirs else None,
            theirs.second if theirs else None,
            alpha=self.scoring.alpha,
            token_counts=found.answer_tokens if self.scoring.length_normalize else None,
        )
        if not math.isfinite(value):
            raise DataFault(f"{subject.uri}: gives log-probabilities that are not finite", "ModelNotFinite")
        return value


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut `items` into parts of `size`; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
