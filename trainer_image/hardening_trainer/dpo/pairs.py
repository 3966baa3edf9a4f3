"""Training pairs: from the Score stage's Parquet files to token ids, overlong ones counted and left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from hardening_trainer.errors import DataFault
from hardening_trainer.inference.chat import encode_pair

TEXTS = ("prompt", "chosen", "rejected")
REFERENCES = ("ref_chosen_logps", "ref_rejected_logps")


@dataclass(frozen=True)
class TokenPairs:
    """Pairs in the columns TRL's collator reads: `prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps, ...`."""

    rows: list[dict[str, Any]]
    overlong: int
    """Pairs left out: prompt plus the longer answer exceed the limit."""

    @property
    def tokens(self) -> int:
        """Tokens of both sequences of every pair, the prompt counted in each."""
        return sum(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in self.rows)


def count_pairs(files: Sequence[Path]) -> int:
    """Rows of the files together; reads only their footers."""
    return sum(pq.read_metadata(file).num_rows for file in files)


def read_pairs(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Rows of every file in turn. Raises DataFault naming file, row and column of what cannot be trained on."""
    for file in files:
        missing = [name for name in (*TEXTS, *REFERENCES) if name not in pq.read_schema(file).names]
        if missing:
            raise DataFault(f"{file.name}: no column {', '.join(missing)}: expected pairs of a Score stage")
        table = pq.read_table(file, columns=[*TEXTS, *REFERENCES])
        for number, row in enumerate(table.to_pylist()):
            _check(row, f"{file.name}: row {number}")
            yield row


def tokenize(files: Sequence[Path], tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenPairs:
    """Token ids of every pair of at most `max_length` tokens (prompt plus either answer), in the files' order."""
    rows: list[dict[str, Any]] = []
    overlong = 0
    for row in read_pairs(files):
        pair = encode_pair(tokenizer, row["prompt"], row["chosen"], row["rejected"])
        if len(pair.prompt) + max(len(pair.preferred), len(pair.dispreferred)) > max_length:
            overlong += 1
            continue
        rows.append(
            {"prompt_ids": pair.prompt, "chosen_ids": pair.preferred, "rejected_ids": pair.dispreferred}
            | {name: row[name] for name in REFERENCES}
        )
    return TokenPairs(rows, overlong)


def _check(row: dict[str, Any], where: str) -> None:
    for name in TEXTS:
        if not isinstance(row[name], str):
            raise DataFault(f"{where}: {name}: got {type(row[name]).__name__}: expected text")
    for name in REFERENCES:
        value = row[name]
        if value is None or not math.isfinite(value):
            raise DataFault(f"{where}: {name}: got {value}: expected a finite log-probability: redo the Score stage")
