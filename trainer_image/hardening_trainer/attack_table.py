"""`variants.parquet`: what Attack leaves and Score reads, one row a variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from hardening_trainer.errors import CorruptInput

VARIANTS = "variants.parquet"
Status = Literal["Valid", "Empty", "Duplicate", "Copy", "Refusal", "OverLong", "OffTopic"]

_ROUND_PROMPTS = b"round_prompts"
_SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("preferred", pa.string(), nullable=False),
        pa.field("dispreferred", pa.string(), nullable=False),
        pa.field("variant_index", pa.int32(), nullable=False),
        pa.field("output", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class VariantRow:
    """One variant of one training prompt. Text is left out of `repr`, so that no log can hold it."""

    prompt_id: str
    prompt: str = field(repr=False)
    preferred: str = field(repr=False)
    dispreferred: str = field(repr=False)
    variant_index: int
    output: str = field(repr=False)
    """What the attacker wrote; the attacker is trained on it."""
    variant: str = field(repr=False)
    """What the defender is asked, made of the output by the rewriting template."""
    status: Status


@dataclass(frozen=True)
class AttackTable:
    """The variants of one shard."""

    rows: Sequence[VariantRow] = field(repr=False)
    round_prompts: int
    """Prompts attacked in this round by all shards together."""

    def by_prompt(self) -> list[list[VariantRow]]:
        """Return the variants of each prompt, in order."""
        return [list(group) for _, group in groupby(self.rows, key=lambda row: row.prompt_id)]


def write_variants(folder: Path, table: AttackTable) -> None:
    """Write `variants.parquet` into ``folder``."""
    schema = _SCHEMA.with_metadata({_ROUND_PROMPTS: str(table.round_prompts).encode()})
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in table.rows], schema=schema), folder / VARIANTS)


def read_variants(folder: Path) -> AttackTable:
    """Read `variants.parquet` from ``folder``. Raises CorruptInput when it is not a table of Attack."""
    table = pq.read_table(folder / VARIANTS)
    metadata = table.schema.metadata or {}
    if table.schema.names != _SCHEMA.names or _ROUND_PROMPTS not in metadata:
        raise CorruptInput(f"{VARIANTS}: not a table of the Attack stage: redo that stage")
    return AttackTable([VariantRow(**row) for row in table.to_pylist()], int(metadata[_ROUND_PROMPTS]))
