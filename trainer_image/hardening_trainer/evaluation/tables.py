"""The tables an Evaluate stage leaves: `answers.parquet` and `bank.parquet`. They hold text, and stay where they are.

`verdicts` has one entry for each judge and subject (`candidate`, `base`), `outcomes` one for each judge. Every entry
carries the judge's digest: verdicts of two digests are never mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

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
_OUTCOME = pa.struct([("judge", pa.string()), ("digest", pa.string()), ("outcome", pa.string())])
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
