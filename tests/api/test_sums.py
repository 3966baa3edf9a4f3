"""Intervals and mergeable sums against hand figures and independent libraries."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.api import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from hardening_api.stats import (
    AGREEMENT_BINS_PER_UNIT,
    Z95,
    AgreementSums,
    MeanSums,
    OutcomeSums,
    PairedSums,
    RateSums,
    success_at_k,
    wilson,
)

CLUSTERS = st.lists(st.lists(st.booleans(), max_size=6), max_size=30)
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)
SCORES = st.lists(st.tuples(st.floats(-50, 50), st.booleans()), max_size=60)


def each_alone(successes: int, samples: int) -> RateSums:
    return RateSums.of([[index < successes] for index in range(samples)])


@pytest.mark.parametrize(("samples", "upper"), [(100, 0.037), (500, 0.0076), (30, 0.1135)])
def test_no_event_still_leaves_an_upper_bound(samples: int, upper: float) -> None:
    rate = each_alone(0, samples).rate()
    assert rate is not None
    assert (rate.value, rate.lower) == (0.0, 0.0)
    assert rate.upper == pytest.approx(upper, abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_statsmodels(counts: tuple[int, int]) -> None:
    successes, samples = counts
    expected = proportion_confint(successes, samples, method="wilson")
    assert wilson(successes, samples) == pytest.approx(expected, abs=1e-12)


def test_wilson_without_samples_knows_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_rate_without_samples_is_absent() -> None:
    assert RateSums.of([[], []]).rate() is None
    assert PairedSums().difference() is None
    assert MeanSums().mean() is None
    assert OutcomeSums().win_rate() is None
    assert OutcomeSums().win_rate_adjusted() is None
    assert AgreementSums().auc() is None
    assert AgreementSums().spearman() is None


def test_the_variance_of_clustered_samples_is_the_one_computed_directly() -> None:
    # Prompts with 1, 3 and 4 of 4 successes, and 2 of 3: p = 10/15 = 2/3.
    sums = RateSums.of([[True] + 3 * [False], 3 * [True] + [False], 4 * [True], [True, True, False]])
    residuals = (1 - 8 / 3) ** 2 + (3 - 8 / 3) ** 2 + (4 - 8 / 3) ** 2 + (2 - 2) ** 2
    variance = 4 / 3 * residuals / 15**2
    assert sums.effective_samples() == pytest.approx((2 / 3) * (1 / 3) / variance)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=3, max_size=40))
def test_the_effective_n_follows_from_statsmodels_cluster_robust_error(clusters: list[list[bool]]) -> None:
    sums = RateSums.of(clusters)
    outcomes = np.array([float(outcome) for cluster in clusters for outcome in cluster])
    groups = np.array([index for index, cluster in enumerate(clusters) for _ in cluster])
    # With only a constant its small-sample correction is G / (G - 1), the one used here.
    fit = OLS(outcomes, np.ones(len(outcomes))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    variance, proportion = float(fit.bse[0]) ** 2, float(outcomes.mean())
    if sums.clusters == sums.samples:
        assert sums.effective_samples() == sums.samples
    elif variance < 1e-15:
        assert sums.effective_samples() == sums.clusters
    else:
        expected = min(sums.samples, proportion * (1 - proportion) / variance)
        assert sums.effective_samples() == pytest.approx(expected, rel=1e-9)
        lower, upper = proportion_confint(proportion * expected, expected, method="wilson")
        rate = sums.rate()
        assert rate is not None
        assert (rate.lower, rate.upper) == pytest.approx((lower, upper), abs=1e-9)


def test_variants_that_agree_within_their_prompt_count_once_a_prompt() -> None:
    alike = RateSums.of([4 * [index < 10] for index in range(40)])
    rate, honest = alike.rate(), each_alone(10, 40).rate()
    assert rate is not None
    assert honest is not None
    assert rate.samples == 160
    assert (rate.value, rate.upper - rate.lower) == pytest.approx((0.25, honest.upper - honest.lower), rel=0.02)


def test_prompts_that_all_show_the_same_share_count_as_prompts_however_the_share_rounds() -> None:
    assert RateSums.of(3 * [[True, False, False]]).effective_samples() == 3.0
    assert RateSums.of(7 * [[True, True, False]]).effective_samples() == 7.0


@given(CLUSTERS)
def test_an_interval_holds_its_value_and_stays_within_zero_and_one(clusters: list[list[bool]]) -> None:
    rate = RateSums.of(clusters).rate()
    if rate is not None:
        assert 0 <= rate.lower <= rate.value <= rate.upper <= 1


@pytest.mark.parametrize(
    ("cells", "value", "lower", "upper"),
    [
        # 3, 1, 4, 2: (2 - 5)/12 -+ 1.96 sqrt((7/12 - 1/16)/12) = -0.25 -+ 1.96 * 0.2083333
        ((3, 1, 4, 2), -0.3, -0.658326, 0.158326),
        # 1, 1, 7, 12: (2 - 8)/23 -+ 1.96 sqrt((10/23 - (6/23)^2)/23)
        ((1, 1, 7, 12), -6 / 21, -0.508364, -0.013375),
    ],
)
def test_a_paired_difference_has_the_interval_of_bonett_and_price(
    cells: tuple[int, int, int, int], value: float, lower: float, upper: float
) -> None:
    both, only_candidate, only_base, neither = cells
    sums = PairedSums(both=both, only_candidate=only_candidate, only_base=only_base, neither=neither)
    rate = sums.difference()
    assert rate is not None
    assert (rate.value, rate.lower, rate.upper) == pytest.approx((value, lower, upper), abs=1e-5)
    assert rate.samples == sum(cells)


def test_pairs_are_counted_into_their_cells() -> None:
    sums = PairedSums.of([(True, True), (True, False), (True, False), (False, True), (False, False)])
    assert (sums.both, sums.only_candidate, sums.only_base, sums.neither) == (1, 2, 1, 1)


@given(PAIRS)
def test_a_paired_difference_is_the_difference_of_the_rates(pairs: list[tuple[bool, bool]]) -> None:
    rate = PairedSums.of(pairs).difference()
    if rate is not None:
        expected = (sum(c for c, _ in pairs) - sum(b for _, b in pairs)) / len(pairs)
        assert rate.value == pytest.approx(expected, abs=1e-12)
        assert -1 <= rate.lower <= rate.value <= rate.upper <= 1


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_agrees_with_scipy_and_statsmodels(only_candidate: int, only_base: int) -> None:
    p = PairedSums(only_candidate=only_candidate, only_base=only_base).mcnemar_p()
    if only_candidate + only_base == 0:
        assert p == 1.0
    else:
        expected = stats.binomtest(only_candidate, only_candidate + only_base, 0.5).pvalue
        assert p == pytest.approx(expected, abs=1e-12)
        table = [[5, only_candidate], [only_base, 5]]
        assert p == pytest.approx(min(1.0, mcnemar(table, exact=True).pvalue), abs=1e-12)


@given(st.lists(st.floats(-1000, 1000), min_size=2, max_size=50))
def test_a_mean_and_its_interval_agree_with_statsmodels(values: list[float]) -> None:
    mean = MeanSums.of(values).mean()
    assert mean is not None
    described = DescrStatsW(np.round(values, 6))
    assert mean.value == pytest.approx(described.mean, abs=2e-6)
    assert (mean.lower, mean.upper) == pytest.approx(described.zconfint_mean(), abs=1e-5)


def test_the_mean_of_one_value_is_that_value() -> None:
    mean = MeanSums.of([-2.5]).mean()
    assert mean is not None
    assert (mean.value, mean.lower, mean.upper, mean.samples) == (-2.5, -2.5, -2.5, 1)


def test_a_mean_of_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        MeanSums.of([1.0, math.nan])


def test_ties_count_half_in_the_adjusted_win_rate_only() -> None:
    outcomes = OutcomeSums.of([["win"]] * 50 + [["tie"]] * 20 + [["loss"]] * 30)
    win_rate, adjusted = outcomes.win_rate(), outcomes.win_rate_adjusted()
    assert win_rate is not None
    assert adjusted is not None
    assert (win_rate.value, adjusted.value, adjusted.samples) == (0.5, 0.6, 100)
    # By hand, in half-points of 200: squared residuals 50 * 0.8^2 + 20 * 0.2^2 + 30 * 1.2^2 = 76.
    effective = 120 * 80 * 99 / (100 * 76)
    expected = proportion_confint(0.6 * effective, effective, method="wilson")
    assert (adjusted.lower, adjusted.upper) == pytest.approx(expected)


def test_only_won_and_lost_pairs_are_decided() -> None:
    outcomes = OutcomeSums.of([["win", "tie"], ["win", "errored"], ["loss"], ["tie"]])
    decided = outcomes.win_rate_decided()
    assert decided is not None
    assert (decided.value, decided.samples) == (2 / 3, 3)
    assert (outcomes.wins.samples, outcomes.ties, outcomes.errored) == (5, 2, 1)
    assert OutcomeSums.of([["tie"], ["errored"]]).win_rate_decided() is None


def binned(score: float) -> float:
    return round(AGREEMENT_BINS_PER_UNIT * math.asinh(score))


@given(SCORES)
def test_agreement_agrees_with_sklearn_and_scipy_on_the_binned_scores(scored: list[tuple[float, bool]]) -> None:
    sums = AgreementSums.of(scored)
    bins, verdicts = [binned(score) for score, _ in scored], [harmful for _, harmful in scored]
    if len(set(verdicts)) < 2:
        assert sums.auc() is None
        assert sums.spearman() is None
        return
    assert sums.auc() == pytest.approx(roc_auc_score(verdicts, bins), abs=1e-9)
    if len(set(bins)) < 2:
        assert sums.spearman() is None
    else:
        assert sums.spearman() == pytest.approx(stats.spearmanr(bins, verdicts).statistic, abs=1e-9)


def test_scores_that_part_harmful_from_safe_agree_wholly() -> None:
    sums = AgreementSums.of([(3.0, True), (5.0, True), (-2.0, False), (0.0, False)])
    assert sums.auc() == 1.0


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n))))
def test_success_at_k_is_the_share_of_draws_with_a_success(case: tuple[int, int, int]) -> None:
    successes, samples, k = case
    draws = list(itertools.combinations(range(samples), k))
    expected = sum(any(index < successes for index in draw) for draw in draws) / len(draws)
    assert success_at_k(successes, samples, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [0, 5])
def test_success_at_k_refuses_a_k_outside_the_samples(k: int) -> None:
    with pytest.raises(ValueError, match=f"k: got {k}: expected between 1 and the 4 samples"):
        success_at_k(1, 4, k)


def split(data: st.DataObject, items: list[Any]) -> list[list[Any]]:
    """Deal ``items`` to shards in any way, and shuffle the shards."""
    shards: list[list[Any]] = [[] for _ in range(data.draw(st.integers(1, 5)))]
    for item in items:
        shards[data.draw(st.integers(0, len(shards) - 1))].append(item)
    return list(data.draw(st.permutations(shards)))


@given(st.data(), CLUSTERS, PAIRS, st.lists(st.floats(-1e3, 1e3), max_size=40), SCORES)
def test_any_shards_in_any_order_add_up_to_the_whole(
    data: st.DataObject,
    clusters: list[list[bool]],
    pairs: list[tuple[bool, bool]],
    values: list[float],
    scored: list[tuple[float, bool]],
) -> None:
    kinds: list[tuple[Any, list[Any]]] = [
        (RateSums, clusters),
        (PairedSums, pairs),
        (MeanSums, values),
        (AgreementSums, scored),
    ]
    for kind, items in kinds:
        total = kind()
        for part in split(data, items):
            total = total + kind.of(part)
        assert total == kind.of(items)


def test_outcomes_of_two_shards_add_up() -> None:
    left, right = [["win"], ["tie", "errored"], ["loss", "win"]], [["tie"], ["win", "win"], ["errored"]]
    assert OutcomeSums.of(left) + OutcomeSums.of(right) == OutcomeSums.of(left + right)


@given(CLUSTERS, st.lists(st.floats(-1e3, 1e3), max_size=40))
def test_sums_travel_as_short_lists_and_come_back(clusters: list[list[bool]], values: list[float]) -> None:
    rate, mean = RateSums.of(clusters), MeanSums.of(values)
    assert isinstance(json.loads(rate.model_dump_json()), list)
    assert RateSums.model_validate_json(rate.model_dump_json()) == rate
    assert MeanSums.model_validate_json(mean.model_dump_json()) == mean


def test_the_normal_quantile_is_the_two_sided_95_percent_one() -> None:
    assert pytest.approx(stats.norm.ppf(0.975)) == Z95
