"""From scored variants to training pairs: which variants are chosen, and which originals and benign pairs join them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hardening_trainer.inference.logprobs import select_pair

NO_VALID = "NoValidVariant"
SPREAD = "SpreadBelowEpsilon"
_TEACHABLE = ("Copy", "OffTopic", "Refusal", "OverLong")
"""Invalid variants that may stand on the attacker's rejected side: they have text, and a fault of their own."""


@dataclass(frozen=True)
class Selected:
    """The variants of one prompt that make pairs: rows of the variants table."""

    chosen: dict[str, Any]
    """Greatest R: the defender's attacked prompt, the attacker's chosen output."""
    pairs: tuple[tuple[dict[str, Any], dict[str, Any]], ...]
    """The attacker's (chosen, rejected): greatest R against least, and inwards; where these are fewer than asked for,
    greatest R against invalid variants, so that the attacker does not unlearn to write valid ones."""


def select(
    rows: Sequence[dict[str, Any]], scores: dict[int, float], epsilon: float, most_pairs: int = 1
) -> Selected | str:
    """Choose among one prompt's variants; `scores` is R by variant index, of the valid ones.

    Returns the reason where the prompt gives no pair.
    """
    valid = [row for row in rows if row["variant_index"] in scores]
    if not valid:
        return NO_VALID
    invalid = [row for row in rows if row["status"] in _TEACHABLE]
    found = select_pair([scores[row["variant_index"]] for row in valid], epsilon)
    if found is None and (len(valid) > 1 or not invalid):
        return SPREAD
    best = valid[found[0]] if found else valid[0]
    pairs = [*_inwards(valid, scores, epsilon, most_pairs), *((best, worse) for worse in invalid)]
    return Selected(best, tuple(pairs[:most_pairs]))


def _inwards(
    valid: Sequence[dict[str, Any]], scores: dict[int, float], epsilon: float, most_pairs: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (highest, lowest), (second highest, second lowest), ... while they spread by `epsilon`."""
    left: list[float | None] = [scores[row["variant_index"]] for row in valid]
    for _ in range(most_pairs):
        found = select_pair(left, epsilon)
        if found is None:
            return
        yield valid[found[0]], valid[found[1]]
        left[found[0]] = left[found[1]] = None


def times(position: int, share: float) -> int:
    """Return how many companions the attacked pair at `position` brings, so that n of them bring about share * n.

    Positions are in random order and global, so it does not matter how they are split into shards.
    """
    return math.floor((position + 1) * share) - math.floor(position * share)


def companions(position: int, share: float, available: int) -> list[int]:
    """Return which of `available` other rows join the attacked pair at `position`, each once before any comes twice."""
    if not available:
        return []
    start = math.floor(position * share)
    return [(start + offset) % available for offset in range(times(position, share))]
