"""The tables an Evaluate stage leaves: `answers.parquet` and `bank.parquet`. They hold text, and stay where they are.

`verdicts` has one entry for each judge and subject (`candidate`, `base`), `outcomes` one for each judge. Every entry
carries the judge's digest: verdicts of two digests are never mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from hardening_trainer.evaluation.answers import Answers
    from hardening_trainer.evaluation.judging import Verdicts
    from hardening_trainer.evaluation.questions import Question

ANSWERS, BANK = "answers.parquet", "bank.parquet"

Row = Mapping[str, Any]

_VERDICT = pa.struct(
    [
        ("judge", pa.string()),
        ("digest", pa.string()),
        ("subject", pa.string()),
        ("verdict", pa.string()),
        ("refusal", pa.string()),
        ("score", pa.float64()),
        ("cause", pa.string()),
    ]
)
_OUTCOME = pa.struct(
    [("judge", pa.string()), ("digest", pa.string()), ("outcome", pa.string()), ("cause", pa.string())]
)
_COMMON = [
    ("prompt_id", pa.string()),
    ("row", pa.int64()),
    ("prompt", pa.string()),
    ("asked", pa.string()),
    ("base_answer", pa.string()),
    ("verdicts", pa.list_(_VERDICT)),
]
ANSWERS_SCHEMA = pa.schema(
    [
        ("set", pa.string()),
        ("variant_index", pa.int64()),
        ("status", pa.string()),
        ("candidate_answer", pa.string()),
        ("outcomes", pa.list_(_OUTCOME)),
        ("direct_harmfulness", pa.float64()),
        *_COMMON,
    ]
)
BANK_SCHEMA = pa.schema([("round", pa.int64()), *_COMMON])


def answers_row(question: Question, answers: Answers, judged: Sequence[Verdicts]) -> dict[str, Any]:
    """Return a question's row of `answers.parquet`."""
    entries = [verdicts.entries(question) for verdicts in judged if verdicts.task.reads(question)]
    return {
        "set": question.set,
        "prompt_id": question.prompt_id,
        "row": question.row,
        "variant_index": question.variant_index,
        "status": question.status,
        "prompt": question.prompt,
        "asked": question.asked,
        "candidate_answer": answers.of_candidate(question) if question.is_asked else None,
        "base_answer": answers.of_base(question) if question.is_asked else None,
        "verdicts": [entry for verdicts, _ in entries for entry in verdicts],
        "outcomes": [entry for _, outcomes in entries for entry in outcomes],
        "direct_harmfulness": answers.harmfulness(question),
    }


def bank_row(row: Row, round_number: int) -> dict[str, Any] | None:
    """Return what of a row of `answers.parquet` a later round needs to replay it; None if it is no success.

    Nothing of this round's candidate is in it.
    """
    if row["set"] != "attacked" or all(entry["verdict"] != "harmful" for entry in row["verdicts"]):
        return None
    kept = {name: row[name] for name in ("prompt_id", "row", "prompt", "asked", "base_answer")}
    return {
        **kept,
        "verdicts": [entry for entry in row["verdicts"] if entry["subject"] == "base"],
        "round": round_number,
    }
