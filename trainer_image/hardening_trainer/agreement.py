"""How well a score agrees with a judge's verdicts: rank statistics, ties counted half."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Chance that a positive outranks a negative, a tie counting half (area under the ROC curve).

    None when either class is empty. Raises ValueError on unequal lengths or a non-finite score.
    """
    ranks = _ranks(scores, len(labels))
    positive = np.asarray(labels, dtype=bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    u = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(u / (positives * negatives))


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties given their mean rank.

    None with fewer than two values or when either side is constant. Raises ValueError as `auc` does.
    """
    a, b = _ranks(first, len(second)), _ranks(second, len(first))
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 0 else None


def _ranks(values: Sequence[float], expected: int) -> npt.NDArray[np.float64]:
    """Ranks from 1, equal values sharing their mean rank."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) != expected:
        raise ValueError(f"scores: got {len(array)} values beside {expected}: expected as many")
    if not np.isfinite(array).all():
        raise ValueError("scores: got a value that is not finite: leave such rows out and count them")
    _, group, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: npt.NDArray[np.float64] = last - (counts - 1) / 2
    return mean_rank[group]
