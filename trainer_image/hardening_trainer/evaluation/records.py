"""What an evaluation finds out, record by record, and by what: nothing is asked, scored or judged twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hardening_trainer.attack.variants import Variant
from hardening_trainer.inference.scoring import PairLogProbs
from hardening_trainer.judges import CompareRow, Judgement, JudgeRow, Preference
from hardening_trainer.storage.resume_cache import ResumeCache


class Subject(Protocol):
    """Whoever gave an answer: weights here, a served model, or one whose answers were recorded."""

    @property
    def digest(self) -> str:
        """Which one it is."""


@dataclass(frozen=True)
class Recorded:
    """The promoted candidate as an earlier Evaluate recorded it: it is asked nothing more."""

    digest: str


@dataclass(frozen=True)
class Answer:
    """A model's greedy answer; None where a served one gave none."""

    text: str | None = field(repr=False)


class Findings:
    """All that this stage has found out so far, and what earlier ones had."""

    def __init__(self, cache: ResumeCache) -> None:
        self.variants = cache.records("variants", Variant)
        self.answers = cache.records("answer", Answer)
        self.logprobs = cache.records("score", PairLogProbs)
        self.verdicts = cache.records("verdict", Judgement)
        self.preferences = cache.records("preference", Preference)


def of_answer(subject: Subject, asked: str) -> tuple[str, str]:
    """Return what the record of an answer is of."""
    return subject.digest, asked


def of_verdict(judge: str, row: JudgeRow) -> tuple[str, str, str]:
    """Return what the record of a verdict is of: the judge's digest, and what it read."""
    return judge, row.prompt, row.answer


def of_preference(judge: str, row: CompareRow) -> tuple[str, str, str, str]:
    """Return what the record of a preference is of."""
    return judge, row.prompt, row.candidate, row.base
