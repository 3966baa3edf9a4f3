"""Prompts and answers for a report that asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_answers(folder: Path) -> list[dict[str, Any]]:
    """Return round, set, subject, verdict, prompt and answer of everything judged in the run in ``folder``."""
    from pyarrow import parquet  # noqa: PLC0415 - slow; figures do without it

    rows = []
    for table in sorted(folder.glob("rounds/*/evaluate/shard-*/answers.parquet")):
        number = int(table.relative_to(folder).parts[1])
        for row in parquet.read_table(table).to_pylist():
            subject = "base" if row["candidate_answer"] is None else "candidate"
            verdicts = [one for one in row["verdicts"] or [] if one["subject"] == subject]
            rows.append(
                {
                    "round": number,
                    "set": row["set"],
                    "subject": subject,
                    "verdict": ", ".join(f"{one['judge']}: {one['verdict'] or one['refusal']}" for one in verdicts),
                    "prompt": row["asked"] or row["prompt"],
                    "answer": row[f"{subject}_answer"],
                }
            )
    return rows
