"""Parquet tables of the stages: columns with fixed types, the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hardening_trainer.errors import CorruptInput
from hardening_trainer.storage.workspace import atomic_file

VARIANTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("position", pa.int64()),
        ("prompt", pa.string()),
        ("preferred", pa.string()),
        ("dispreferred", pa.string()),
        ("variant_index", pa.int32()),
        ("variant", pa.string()),
        ("written", pa.string()),
        ("status", pa.string()),
    ]
)
"""`position` is the prompt's place among all that the round attacks; `written` is the attacker's own part."""

SCORES = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("position", pa.int64()),
        ("variant_index", pa.int32()),
        ("direct_harmfulness", pa.float64()),
        ("defender_logp_preferred", pa.float64()),
        ("defender_logp_dispreferred", pa.float64()),
        ("reference_logp_preferred", pa.float64()),
        ("reference_logp_dispreferred", pa.float64()),
    ]
)
"""Log-probabilities in nats. With alpha 0 the reference's are null but for the chosen variants."""

PAIRS = pa.schema(
    [
        ("prompt", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("ref_chosen_logps", pa.float64()),
        ("ref_rejected_logps", pa.float64()),
        ("source", pa.string()),
    ]
)
"""`prompt` is the user turn; `source` is attacker, attacked, original or benign."""


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows to a Parquet file, whole or not at all."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    with atomic_file(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def read_table(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file that has at least the columns of `schema`. Raises CorruptInput."""
    try:
        # Not pq.read_table: it imports pyarrow.dataset and pandas, which costs seconds.
        table = pq.ParquetFile(path).read()
        rows: list[dict[str, Any]] = table.select(schema.names).cast(schema).to_pylist()
    except (pa.ArrowException, KeyError, ValueError) as error:
        message = f"{path.name}: not the Parquet table expected (columns {', '.join(schema.names)}), or damaged"
        raise CorruptInput(f"{message}: remove its stage's folder, so that it is done again") from error
    return rows
