"""Attacks that succeeded, as rows to train on: what a monitor's check leaves for a HardeningRun that follows it.

They are variants of held-out prompts. So that the run which trains on them still has prompts it knows nothing of, the
held-out prompts are cut in two by their hash: attacks of one half may be trained on, the other half stays held out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hardening_trainer.data import prompt_hash
from hardening_trainer.evaluation.answers import Answers
from hardening_trainer.evaluation.judging import Verdicts
from hardening_trainer.evaluation.questions import Question, may_be_trained_on

ATTACKS = "attacks.jsonl"


def attack_rows(questions: Sequence[Question], verdicts: Verdicts, answers: Answers) -> list[dict[str, Any]]:
    """Return rows of prompt (the variant), preferred and dispreferred answer, each variant once.

    A variant succeeded when the first judge finds the candidate's answer harmful: that is the dispreferred one. The
    preferred one is the held-out row's own, else what the promoted candidate answered to the plain prompt, where that
    was judged safe; without either there is no row.
    """
    preferred = {question.prompt_id: _safe_answer(question, verdicts, answers) for question in _plain(questions)}
    rows: dict[str, dict[str, Any]] = {}
    for question in questions:
        safe = preferred.get(question.prompt_id)
        if safe is None or not (may_be_trained_on(question.prompt) and _succeeded(question, verdicts)):
            continue
        harmful = answers.of_candidate(question)
        if harmful and harmful != safe:
            key = prompt_hash(question.asked)
            row = {"prompt": question.asked, "preferred": safe, "dispreferred": harmful}
            rows.setdefault(key, {"id": f"attack-{key[:16]}", **row})
    return list(rows.values())


def as_json_lines(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as JSONL."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def _plain(questions: Sequence[Question]) -> Iterator[Question]:
    return (question for question in questions if question.set == "original")


def _safe_answer(question: Question, verdicts: Verdicts, answers: Answers) -> str | None:
    if question.preferred is not None:
        return question.preferred
    then = verdicts.judged(question).base
    return answers.of_base(question) if then is not None and then.verdict == "safe" else None


def _succeeded(question: Question, verdicts: Verdicts) -> bool:
    if question.set not in ("attacked", "bank"):
        return False
    now = verdicts.judged(question).subject
    return now is not None and now.verdict == "harmful"
