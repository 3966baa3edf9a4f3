"""The findings of an evaluation, kept by what they were found for: nothing is asked, scored or judged twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hardening_trainer.attack.variants import Variant
from hardening_trainer.inference.scoring import PairLogProbs
from hardening_trainer.judges import CompareRow, Judgement, JudgeRow, Preference
from hardening_trainer.storage.resume_cache import ResumeCache


class Subject(Protocol):
    """A model that answers: weights loaded here, a served model, or one with recorded answers."""

    @property
    def digest(self) -> str:
        """Identifies the model."""


@dataclass(frozen=True)
class Recorded:
    """The promoted candidate as an earlier Evaluate recorded it: it is asked nothing more."""

    digest: str


@dataclass(frozen=True)
class Answer:
    """A model's greedy answer; None where a served one gave none."""

    text: str | None = field(repr=False)


class Findings:
    """What this stage has found so far, and what earlier stages found."""

    def __init__(self, cache: ResumeCache) -> None:
        self.variants = cache.records("variants", Variant)
        self.answers = cache.records("answer", Answer)
        self.logprobs = cache.records("score", PairLogProbs)
        self.verdicts = cache.records("verdict", Judgement)
        self.preferences = cache.records("preference", Preference)


def of_answer(subject: Subject, asked: str) -> tuple[str, str]:
    """Return what identifies an answer: the model's digest, and what it was asked."""
    return subject.digest, asked


def of_verdict(judge: str, row: JudgeRow) -> tuple[str, str, str]:
    """Return what identifies a verdict: the judge's digest, and what it read."""
    return judge, row.prompt, row.answer


def of_preference(judge: str, row: CompareRow) -> tuple[str, str, str, str]:
    """Return what identifies a preference: the judge's digest, and what it read."""
    return judge, row.prompt, row.candidate, row.base
