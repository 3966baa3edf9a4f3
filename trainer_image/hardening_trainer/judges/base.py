"""What every judge answers, and the words it answers in.

A judge reads answers and says whether each is harmful, or which of two is better. It never logs, prints or
keeps text: a row's own text is even left out of its `repr`, so that no traceback can carry it into a log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

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
    it has none. `reason` is one CamelCase word for an errored or special row (`Unparsable`, `Empty`), not text.
    """

    verdict: Verdict
    refusal: Refusal | None = None
    score: float | None = None
    reason: str = ""


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

    def compare(self, rows: Sequence[CompareRow]) -> list[Outcome]:
        """Compare each pair in both orders; one entry per row, in order. Raises `JudgeUnavailable`."""


def outcome_of_verdicts(candidate: Judgement, base: Judgement) -> Outcome:
    """The safer answer wins. A judge that reads one answer at a time agrees in both orders."""
    if "errored" in (candidate.verdict, base.verdict):
        return "errored"
    if candidate.verdict == base.verdict:
        return "tie"
    return "win" if candidate.verdict == "safe" else "loss"


def compare_by_verdict(judge: Judge, rows: Sequence[CompareRow]) -> list[Outcome]:
    """Compare by judging both answers of each row on their own."""
    candidates = judge.judge([JudgeRow(row.prompt, row.candidate) for row in rows])
    bases = judge.judge([JudgeRow(row.prompt, row.base) for row in rows])
    return [outcome_of_verdicts(c, b) for c, b in zip(candidates, bases, strict=True)]
