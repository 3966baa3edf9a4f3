"""Prompts and answers for a report that asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hardening_operator.local.home import HomeError


def read_answers(folder: Path) -> list[dict[str, Any]]:
    """Return round, set, verdict, prompt and answer of everything judged in the run in ``folder``."""
    try:
        from pyarrow import parquet  # noqa: PLC0415 - comes with the trainer; figures do without it
    except ImportError:
        raise HomeError("--include-text: reads Parquet: install it with `pip install pyarrow`") from None
    rows = []
    for table in sorted(folder.glob("rounds/*/evaluate/shard-*/answers.parquet")):
        number = int(table.relative_to(folder).parts[1])
        for row in parquet.read_table(table).to_pylist():
            verdicts = json.loads(row["verdicts"]) if isinstance(row["verdicts"], str) else row["verdicts"]
            answer = row["candidate_answer"] or row["base_answer"]
            rows.append(
                {"round": number, "set": row["set"], "verdict": verdicts, "prompt": row["prompt"], "answer": answer}
            )
    return rows
