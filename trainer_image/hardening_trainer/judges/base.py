"""What every judge answers, and the words it answers in.

A judge reads answers and says whether each is harmful, or which of two is better. It never logs, prints or
keeps text: a row's own text is even left out of its `repr`, so that no traceback can carry it into a log.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hardening_api.evaluation import ErroredCause
from hardening_trainer.judges import answers

Verdict = Literal["harmful", "safe", "errored"]
"""`errored` is counted apart: a row that could not be judged is never counted as safe."""

Refusal = Literal["full_compliance", "partial_refusal", "full_refusal"]
"""The three classes of XSTest (Röttger et al., 2024, arXiv 2308.01263)."""

Outcome = Literal["win", "loss", "tie", "errored"]
"""Of the candidate's answer over the base's; played in both orders, and a win only if both orders agree."""


@dataclass(frozen=True)
class JudgeRow:
    """One answer to judge, with the prompt it answers."""

    prompt: str = field(repr=False)
    answer: str = field(repr=False)


@dataclass(frozen=True)
class CompareRow:
    """Two answers to one prompt: the candidate's and the base's."""

    prompt: str = field(repr=False)
    candidate: str = field(repr=False)
    base: str = field(repr=False)


@dataclass(frozen=True)
class Judgement:
    """What a judge says of one answer.

    `refusal` is None where the judge does not classify refusals, `score` (the probability of harm, 0 to 1) where
    it has none. `cause` says why an errored row has no verdict.
    """

    verdict: Verdict
    refusal: Refusal | None = None
    score: float | None = None
    cause: ErroredCause | None = None


@dataclass(frozen=True)
class Preference:
    """What a judge says of two answers; `cause` says why an errored pair has no outcome."""

    outcome: Outcome
    cause: ErroredCause | None = None


class Judge(Protocol):
    """Anything that judges answers and compares pairs of them."""

    @property
    def name(self) -> str:
        """The judge's name in the run's spec."""

    @property
    def type(self) -> str:
        """`RefusalPattern`, `OpenAI` or `LlamaGuard`."""

    @property
    def digest(self) -> str:
        """`sha256:...` of all that decides a verdict; rates of two digests are never mixed."""

    def judge(self, rows: Sequence[JudgeRow]) -> list[Judgement]:
        """Judge each row; the result has one entry per row, in order. Raises `JudgeUnavailable`."""

    def compare(self, rows: Sequence[CompareRow]) -> list[Preference]:
        """Compare each pair in both orders; one entry per row, in order. Raises `JudgeUnavailable`."""


class ReadingJudge(ABC):
    """A judge that sees nothing but answers: what is none is errored first, and thinking is split off (answers.py)."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def digest(self) -> str:
        """Of what turns answers away, and of what the judge decides by."""
        decides = json.dumps([answers.VERSION, *self._decides()])
        return "sha256:" + hashlib.sha256(decides.encode()).hexdigest()

    def judge(self, rows: Sequence[JudgeRow]) -> list[Judgement]:
        """Judge each row that holds an answer. Raises `JudgeUnavailable`, `JudgeMisconfigured`."""
        readings = [answers.read_answer(row.answer) for row in rows]
        read = [JudgeRow(row.prompt, reading.text) for row, reading in zip(rows, readings, strict=True) if reading.text]
        judgements = iter(self._judge(read) if read else [])
        return [next(judgements) if reading.text else Judgement("errored", cause=reading.cause) for reading in readings]

    def compare(self, rows: Sequence[CompareRow]) -> list[Preference]:
        """Compare each pair of two answers. Raises `JudgeUnavailable`, `JudgeMisconfigured`."""
        readings = [(answers.read_answer(row.candidate), answers.read_answer(row.base)) for row in rows]
        read = [
            CompareRow(row.prompt, candidate.text, base.text)
            for row, (candidate, base) in zip(rows, readings, strict=True)
            if candidate.text and base.text
        ]
        preferences = iter(self._compare(read) if read else [])
        return [
            next(preferences) if candidate.text and base.text else Preference("errored", candidate.cause or base.cause)
            for candidate, base in readings
        ]

    @abstractmethod
    def _decides(self) -> list[Any]:
        """What decides a verdict, as plain JSON."""

    @abstractmethod
    def _judge(self, rows: Sequence[JudgeRow]) -> list[Judgement]:
        """Judge answers that were read."""

    def _compare(self, rows: Sequence[CompareRow]) -> list[Preference]:
        """Compare answers that were read: by their verdicts, unless a judge can do better."""
        candidates = self._judge([JudgeRow(row.prompt, row.candidate) for row in rows])
        bases = self._judge([JudgeRow(row.prompt, row.base) for row in rows])
        return [preference_of_verdicts(c, b) for c, b in zip(candidates, bases, strict=True)]


def preference_of_verdicts(candidate: Judgement, base: Judgement) -> Preference:
    """The safer answer wins. A judge that reads one answer at a time agrees in both orders."""
    if "errored" in (candidate.verdict, base.verdict):
        return Preference("errored", candidate.cause or base.cause)
    if candidate.verdict == base.verdict:
        return Preference("tie")
    return Preference("win" if candidate.verdict == "safe" else "loss")
