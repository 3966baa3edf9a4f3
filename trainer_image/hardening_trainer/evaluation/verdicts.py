"""What the judges say, kept by what they were asked: no answer is judged twice by the same judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from hardening_api.evaluation import Judge as JudgeSpec
from hardening_api.stages import Weights
from hardening_trainer.evaluation.answers import Advance, chunks
from hardening_trainer.judges import CompareRow, Judge, Judgement, JudgeRow, Outcome
from hardening_trainer.judges.spec import opened_judge
from hardening_trainer.runtime.resume_cache import Journal, key_of
from hardening_trainer.runtime.stage import StageContext

ASKED_TOGETHER = 64
"""Rows a judge is given between two safe points to stop."""

Exchange = tuple[str, str]
"""A prompt and the answer to it."""
Comparison = tuple[str, str, str]
"""What was asked, the candidate's answer, the base's answer."""


@contextmanager
def opened(context: StageContext, spec: JudgeSpec) -> Iterator[Judge]:
    """Build the judge of a spec's entry, record its digest, and free what it used at the end of the block."""
    with opened_judge(spec, lambda source: context.model(Weights(source=source)), context.environ) as judge:
        context.record_input(f"judge:{spec.name}", judge.digest)
        yield judge


def verdict_key(digest: str, exchange: Exchange) -> str:
    """Name a verdict of the judge with `digest`; the journal has it as the fields of a Judgement."""
    return key_of("verdict", digest, *exchange)


def outcome_key(digest: str, comparison: Comparison) -> str:
    """Name an outcome of the judge with `digest`; the journal has it as its word."""
    return key_of("outcome", digest, *comparison)


def judge_all(judge: Judge, exchanges: Sequence[Exchange], journal: Journal, advance: Advance) -> None:
    """Ask for the verdicts that the journal lacks. Raises JudgeUnavailable; what was answered is kept."""
    todo = {key: pair for pair in exchanges if (key := verdict_key(judge.digest, pair)) not in journal}
    for keys in chunks(list(todo), ASKED_TOGETHER):
        judgements = judge.judge([JudgeRow(*todo[key]) for key in keys])
        journal.add({key: fields_of(judgement) for key, judgement in zip(keys, judgements, strict=True)})
        advance(len(keys), 0)
    advance(len(exchanges) - len(todo), 0)


def compare_all(judge: Judge, comparisons: Sequence[Comparison], journal: Journal, advance: Advance) -> None:
    """Ask for the outcomes that the journal lacks, of a judge that compares. Raises JudgeUnavailable."""
    todo = {key: rows for rows in comparisons if (key := outcome_key(judge.digest, rows)) not in journal}
    for keys in chunks(list(todo), ASKED_TOGETHER):
        outcomes = [said.outcome for said in judge.compare([CompareRow(*todo[key]) for key in keys])]
        journal.add(dict(zip(keys, outcomes, strict=True)))
        advance(len(keys), 0)
    advance(len(comparisons) - len(todo), 0)


def fields_of(judgement: Judgement) -> list[Any]:
    """Return a judgement as the journal keeps it."""
    return [judgement.verdict, judgement.refusal, judgement.score, judgement.cause]


def verdict(journal: Mapping[str, Any], digest: str, exchange: Exchange) -> Judgement:
    """Look up a verdict."""
    return Judgement(*journal[verdict_key(digest, exchange)])


def outcome(journal: Mapping[str, Any], digest: str, comparison: Comparison) -> Outcome:
    """Look up an outcome of a judge that compares."""
    found: Outcome = journal[outcome_key(digest, comparison)]
    return found


def known_verdicts(row: Mapping[str, Any], subject: Literal["base", "candidate"]) -> dict[str, Any]:
    """Return journal entries for the verdicts on the subject's answer in a row of an earlier table."""
    return {
        verdict_key(entry["digest"], (row["prompt"], row[f"{subject}_answer"])): [
            entry[name] for name in ("verdict", "refusal", "score", "cause")
        ]
        for entry in row["verdicts"]
        if entry["subject"] == subject
    }
