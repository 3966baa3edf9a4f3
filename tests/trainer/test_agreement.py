from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from hardening_trainer.agreement import auc, spearman

FEW_VALUES = st.integers(-5, 5).map(float)  # few, so that ties are common


@given(st.lists(st.tuples(FEW_VALUES, st.booleans()), min_size=2, max_size=40))
def test_auc_is_sklearns(rows: list[tuple[float, bool]]) -> None:
    scores, labels = [score for score, _ in rows], [label for _, label in rows]
    expected = roc_auc_score(labels, scores) if len(set(labels)) == 2 else None
    assert auc(scores, labels) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.tuples(FEW_VALUES, FEW_VALUES), min_size=2, max_size=40))
def test_spearman_is_scipys(rows: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in rows], [b for _, b in rows]
    varied = len(set(first)) > 1 and len(set(second)) > 1
    got = spearman(first, second)
    assert got == (pytest.approx(spearmanr(first, second).statistic, abs=1e-9) if varied else None)


def test_auc_by_hand_counts_a_tie_half() -> None:
    # Pairs (positive, negative): 3>1, 3>2, 2>1, 2=2: 3.5 of 4.
    assert auc([3.0, 2.0, 1.0, 2.0], [True, True, False, False]) == 0.875


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        auc([1.0, np.nan], [True, False])


def test_nothing_to_compare_gives_no_figure() -> None:
    assert spearman([], []) is None
    assert auc([], []) is None
