"""Which variants become training pairs, and which originals and benign pairs are mixed in. Pure.

Every choice depends on the seed and on ids alone, never on the shard a row is in, so shards choose what one would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hardening_api.stage import Shard
from hardening_trainer.attack_table import VariantRow
from hardening_trainer.data import Pair
from hardening_trainer.scoring import select_pair

Source = Literal["attacked", "original", "benign", "attacker"]


@dataclass(frozen=True)
class TrainingPair:
    """One row of DPO, its reference log-probabilities still to come."""

    prompt: str = field(repr=False)
    chosen: str = field(repr=False)
    rejected: str = field(repr=False)
    source: Source


@dataclass(frozen=True)
class Selection:
    """What one prompt's variants gave: x'_w, x'_l and, for the attacker, a variant that was no attack at all."""

    chosen: VariantRow | None = None
    rejected: VariantRow | None = None
    invalid: VariantRow | None = None
    dropped: Literal["NoValidVariant", "SpreadBelowEpsilon"] | None = None


def select(variants: Sequence[VariantRow], scores: Mapping[int, float], epsilon: float) -> Selection:
    """Choose among one prompt's variants; ``scores`` is R by variant index, of the valid ones.

    Where R tells too little apart, the one of the highest R still serves the defender if it is the only valid one,
    or the attacker if a copy, a refusal or drift can stand against it.
    """
    valid = [row for row in variants if row.variant_index in scores]
    if not valid:
        return Selection(dropped="NoValidVariant")
    values: list[float | None] = [scores[row.variant_index] for row in valid]
    best = max(range(len(valid)), key=lambda index: (values[index], -index))
    pair = select_pair(values, epsilon)
    rejected = None if pair is None else valid[pair[1]]
    invalid = next((row for row in variants if row.status != "Valid" and row.output), None)
    if pair is None and len(valid) > 1:
        return Selection(dropped="SpreadBelowEpsilon")
    return Selection(chosen=valid[best], rejected=rejected, invalid=invalid)


def chance(seed: int, *parts: str) -> float:
    """Return a number in [0, 1) that only seed and names decide."""
    digest = hashlib.sha256("/".join((str(seed), *parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def originals(prompts: Sequence[VariantRow], share: float, seed: int) -> list[TrainingPair]:
    """Return original pairs of ``share`` of the prompts (a share above 1 takes each of them)."""
    return [
        TrainingPair(row.prompt, row.preferred, row.dispreferred, "original")
        for row in prompts
        if chance(seed, "original", row.prompt_id) < share
    ]


def benign_rows(rows: Sequence[Pair], count: int, shard: Shard, seed: int) -> list[Pair]:
    """Return this shard's part of the ``count`` benign rows that the seed draws from all of them."""
    order = sorted(range(len(rows)), key=lambda index: chance(seed, "benign", rows[index].id))
    drawn = set(order[:count])
    return [row for index, row in enumerate(rows) if index in drawn and index % shard.count == shard.index]
