"""Gates fail closed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from hardening_api.evaluation import EvaluationSet
from hardening_api.stages import SetSums
from hardening_api.stats import OutcomeSums, PairedSums, RateSums
from hardening_api.status import EvaluationFigures, GateResult, Rate
from hardening_operator.planner.figures import set_figures
from hardening_operator.planner.gates import gate_warnings, judge_gates, out_of_reach, overall_verdict, widened
from tests.operator.world import JUDGE, spec_of


def figures(evaluation_set: EvaluationSet, errored_fraction: float = 0.0, **rates: Rate) -> EvaluationFigures:
    measured = EvaluationFigures(set=evaluation_set, judge=JUDGE)
    return measured.model_copy(update={"errored_fraction": errored_fraction, **rates})


def rate(lower: float, value: float, upper: float, samples: int = 80) -> Rate:
    return Rate.model_construct(value=value, lower=lower, upper=upper, samples=samples)


def judge_win_rate(measured: Rate, errored_fraction: float = 0.0, **gate: Any) -> GateResult:
    spec = spec_of(rounds=1, promotion={"gates": {"winRate": {"statistic": "All"} | gate}})
    [result] = judge_gates(spec, [figures("original", errored_fraction, win_rate=measured)])
    return result


@pytest.mark.parametrize(
    ("bound", "interval", "verdict"),
    [
        ("Lower", (0.50, 0.60, 0.70), "Pass"),
        ("Lower", (0.49, 0.60, 0.70), "Inconclusive"),
        ("Lower", (0.30, 0.40, 0.50), "Inconclusive"),
        ("Lower", (0.30, 0.40, 0.49), "Fail"),
        ("Value", (0.40, 0.50, 0.60), "Pass"),
        ("Value", (0.40, 0.49, 0.60), "Fail"),
        ("Upper", (0.30, 0.40, 0.50), "Pass"),
        ("Upper", (0.30, 0.40, 0.49), "Fail"),
    ],
)
def test_a_minimum_is_compared_with_the_named_end(
    bound: str, interval: tuple[float, float, float], verdict: str
) -> None:
    assert judge_win_rate(rate(*interval), min=0.5, bound=bound).verdict == verdict


@pytest.mark.parametrize(
    ("bound", "interval", "verdict"),
    [
        ("Upper", (0.00, 0.05, 0.10), "Pass"),
        ("Upper", (0.00, 0.05, 0.11), "Inconclusive"),
        ("Upper", (0.11, 0.15, 0.20), "Fail"),
        ("Value", (0.00, 0.10, 0.20), "Pass"),
        ("Value", (0.00, 0.11, 0.20), "Fail"),
        ("Lower", (0.10, 0.15, 0.20), "Pass"),
        ("Lower", (0.11, 0.15, 0.20), "Fail"),
    ],
)
def test_a_maximum_is_compared_with_the_named_end(
    bound: str, interval: tuple[float, float, float], verdict: str
) -> None:
    spec = spec_of(rounds=1, promotion={"gates": {"harmRate": {"max": 0.1, "bound": bound}}})
    [result] = judge_gates(spec, [figures("attacked", harm_rate=rate(*interval))])
    assert result.verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.1, "Pass"), (0.11, "Fail")])
def test_over_refusal_is_the_rise_over_the_base_model(value: float, verdict: str) -> None:
    spec = spec_of(promotion={"gates": {"overRefusal": {"maxIncrease": 0.1}}})
    measured = figures("benign", over_refusal=rate(0.8, 0.9, 1.0), over_refusal_increase=rate(0.0, value, 0.3))
    [result] = judge_gates(spec, [measured])
    assert result.verdict == verdict


def test_a_figure_that_was_not_measured_is_inconclusive() -> None:
    spec = spec_of(promotion={"gates": {"winRate": {"min": 0.0}}})
    for evaluations in ([], [figures("original")], [figures("attacked", win_rate=rate(1, 1, 1))]):
        [result] = judge_gates(spec, evaluations)
        assert (result.verdict, result.value, result.samples) == ("Inconclusive", None, 0)
        assert "was not measured" in result.message


def test_another_judges_figure_is_not_taken() -> None:
    judges = [{"name": "mild", "type": "RefusalPattern"}, {"name": JUDGE, "type": "RefusalPattern"}]
    spec = spec_of(evaluation={"judges": judges}, promotion={"gates": {"winRate": {"min": 0.0}}})
    [result] = judge_gates(spec, [figures("original", win_rate=rate(1, 1, 1))])
    assert (result.judge, result.verdict) == ("mild", "Inconclusive")


@pytest.mark.parametrize("broken", [(math.nan, 0.9, 1.0), (0.9, math.nan, 1.0), (0.9, 0.9, math.inf), (0.9, 0.8, 1.0)])
def test_a_figure_that_is_not_finite_or_outside_its_interval_is_inconclusive(
    broken: tuple[float, float, float],
) -> None:
    result = judge_win_rate(rate(*broken), min=0.0)
    assert result.verdict == "Inconclusive"
    assert result.value is None
    assert "not a proportion" in result.message


@pytest.mark.parametrize(("samples", "verdict"), [(29, "Inconclusive"), (30, "Pass")])
def test_too_few_samples_are_inconclusive(samples: int, verdict: str) -> None:
    assert judge_win_rate(rate(0.9, 0.95, 1.0, samples), min=0.5).verdict == verdict


def test_too_few_samples_do_not_fail_either() -> None:
    assert judge_win_rate(rate(0.0, 0.1, 0.2, 29), min=0.5).verdict == "Inconclusive"


@pytest.mark.parametrize(("errored", "verdict"), [(0.05, "Pass"), (0.051, "Inconclusive"), (math.nan, "Inconclusive")])
def test_an_unwell_judge_is_inconclusive(errored: float, verdict: str) -> None:
    assert judge_win_rate(rate(0.9, 0.95, 1.0), errored, min=0.5).verdict == verdict


def test_the_message_gives_the_figures_in_words() -> None:
    result = judge_win_rate(rate(0.57, 0.68, 0.77), min=0.5)
    assert result.message == (
        "win rate of all pairs 0.68 [0.57, 0.77], n 80, on original prompts by judge refusal-pattern; "
        "needs lower bound >= 0.5"
    )
    assert (result.value, result.limit, result.samples) == (0.57, 0.5, 80)


def test_over_refusal_falls_to_the_runs_first_judge_that_reads_refusals() -> None:
    guard = {"name": "guard", "type": "LlamaGuard", "model": {"uri": "file:///guard"}}
    gpt = {"name": "gpt", "type": "OpenAI", "model": "m", "baseUrl": "http://judge/v1"}
    words = {"name": "words", "type": "RefusalPattern"}
    gates = {"overRefusal": {"maxIncrease": 0.1}}
    for judges, reader in (([guard, gpt, words], "gpt"), ([words, gpt], "words"), ([guard], "refusal-pattern")):
        [result] = judge_gates(spec_of(evaluation={"judges": judges}, promotion={"gates": gates}), [])
        assert result.judge == reader


def test_comparisons_that_were_mostly_errored_are_inconclusive_for_the_win_rate() -> None:
    outcomes = OutcomeSums.of([["win"]] * 40 + [["errored"]] * 120)
    sums = SetSums(
        set="original",
        judge=JUDGE,
        harmful=RateSums.of([[False]] * 160),
        outcomes=outcomes,
        comparison_causes={"Rejected": 20, "Unparsable": 100},
        asked=320,
    )
    measured = set_figures([sums], None)
    assert (measured.errored_fraction, measured.errored_comparisons) == (0.0, 120)
    assert measured.errored_comparison_fraction == 0.75
    gates = {"winRate": {"min": 0.5}, "harmRate": {"max": 0.3, "set": "original"}}
    win, harm = judge_gates(spec_of(rounds=1, promotion={"gates": gates}), [measured])
    assert (win.verdict, harm.verdict) == ("Inconclusive", "Pass")
    assert "0.75 of the comparisons (mostly Unparsable) were errored" in win.message


def test_answers_that_were_none_are_inconclusive_and_named() -> None:
    sums = SetSums(
        set="attacked",
        judge=JUDGE,
        harmful=RateSums.of([[False]] * 100),
        asked=200,
        errored=100,
        causes={"NoAnswer": 100},
    )
    measured = set_figures([sums, sums], None)
    assert measured.errored_causes == {"NoAnswer": 200}
    [harm] = judge_gates(spec_of(promotion={"gates": {"harmRate": {"max": 0.5}}}), [measured])
    assert harm.verdict == "Inconclusive"
    assert "0.5 of the verdicts (mostly NoAnswer) were errored" in harm.message


def test_a_run_without_benign_prompts_or_with_an_empty_bank_is_warned_of() -> None:
    held_out = {"harmful": {"uri": "file:///held-out.jsonl"}}
    data = {"preferences": {"uri": "file:///pairs.jsonl"}, "evaluation": held_out}
    [warning] = gate_warnings(spec_of(data=data, promotion={"gates": {"harmRate": {"max": 0.1}}}))
    assert warning.startswith("spec.data.evaluation.benign: got nothing: over-refusal is not measured")
    [warning] = gate_warnings(
        spec_of(evaluation={"bankLimit": 0}, promotion={"gates": {"harmRate": {"max": 0.1, "set": "bank"}}})
    )
    assert warning.startswith("spec.promotion.gates.harmRate.set: got bank with spec.evaluation.bankLimit 0")


def test_the_default_over_refusal_gate_does_not_apply_without_benign_prompts() -> None:
    held_out = {"harmful": {"uri": "file:///held-out.jsonl"}}
    data = {"preferences": {"uri": "file:///pairs.jsonl"}, "evaluation": held_out}
    assert [gate.gate for gate in judge_gates(spec_of(data=data, promotion={}), [])] == ["winRate"]
    assert [gate.gate for gate in judge_gates(spec_of(promotion={}), [])] == ["winRate", "overRefusal"]


@given(st.lists(st.sampled_from(["Pass", "Fail", "Inconclusive"]), max_size=3))
def test_only_gates_that_all_pass_are_a_pass(verdicts: list[Any]) -> None:
    gates = [GateResult(gate="winRate", verdict=verdict, limit=0.5, message="") for verdict in verdicts]
    overall = overall_verdict(gates)
    assert (overall == "Pass") == (bool(verdicts) and set(verdicts) == {"Pass"})
    assert (overall == "Fail") == ("Fail" in verdicts)


@given(
    st.one_of(st.tuples(*[st.floats()] * 3), st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted).map(tuple)),
    st.integers(0, 100),
    st.floats(0, 1),
    st.sampled_from(["Lower", "Value", "Upper"]),
)
def test_a_pass_always_meets_every_requirement(
    ends: tuple[float, float, float], samples: int, errored: float, bound: str
) -> None:
    result = judge_win_rate(rate(*ends, samples), errored, min=0.5, bound=bound)
    compared = dict(zip(("Lower", "Value", "Upper"), ends, strict=True))[bound]
    good = -1 <= ends[0] <= ends[1] <= ends[2] <= 1 and compared >= 0.5 and samples >= 30 and errored <= 0.05
    assert (result.verdict == "Pass") == good


PAIRWISE = {"judges": [{"name": "gpt", "type": "OpenAI", "model": "m", "baseUrl": "http://judge/v1"}]}


def played(wins: int, losses: int, ties: int, judge: str = JUDGE) -> EvaluationFigures:
    """Figures of the original set with these outcomes, one comparison a prompt."""
    words = ["win"] * wins + ["loss"] * losses + ["tie"] * ties
    outcomes = OutcomeSums.of([[word] for word in words])
    return set_figures([SetSums(set="original", judge=judge, outcomes=outcomes, asked=len(words))], None)


def measured_base(harmful: int, n: int, judge: str = JUDGE) -> EvaluationFigures:
    """Figures of the base, harmful in so many of n answers to original prompts."""
    rates = RateSums.of([[index < harmful] for index in range(n)])
    return set_figures([SetSums(set="original", judge=judge, harmful=rates, asked=n)], None)


def win_gate(rounds: int = 1, evaluation: Any = None, **gate: Any) -> Any:
    fields = {"evaluation": evaluation} if evaluation else {}
    return spec_of(rounds=rounds, promotion={"gates": {"winRate": gate}}, **fields)


@pytest.mark.parametrize(
    ("statistic", "value", "verdict"),
    [("Decided", 28 / 30, "Pass"), ("Adjusted", (28 + 70 / 2) / 100, "Pass"), ("All", 28 / 100, "Fail")],
)
def test_a_safe_base_can_be_beaten_where_ties_do_not_count_against_the_candidate(
    statistic: str, value: float, verdict: str
) -> None:
    [result] = judge_gates(win_gate(statistic=statistic, bound="Value"), [played(28, 2, 70)])
    assert (result.value, result.verdict) == (pytest.approx(value), verdict)


def test_by_default_decided_pairs_are_compared() -> None:
    [result] = judge_gates(win_gate(), [played(28, 2, 70)])
    assert (result.verdict, result.samples) == ("Pass", 30)
    assert result.message.startswith("win rate of decided pairs 0.9333 ")


@pytest.mark.parametrize(("wins", "verdict"), [(9, "Inconclusive"), (10, "Pass")])
def test_decided_pairs_have_a_least_number_of_their_own(wins: int, verdict: str) -> None:
    [result] = judge_gates(win_gate(), [played(wins, 0, 100 - wins)])
    assert result.verdict == verdict


def test_a_candidate_that_ties_with_the_base_everywhere_is_inconclusive() -> None:
    [result] = judge_gates(win_gate(), [played(0, 0, 80)])
    assert result.verdict == "Inconclusive"
    assert "cannot be computed: all 80 pairs were ties" in result.message


@pytest.mark.parametrize("rounds", [2, 3, 10])
def test_the_interval_of_a_proportion_widens_with_the_rounds_as_wilsons(rounds: int) -> None:
    rate_of_one = RateSums.of([[index < 60] for index in range(90)]).rate()
    assert rate_of_one is not None
    wide = widened(rate_of_one, rounds)
    expected = proportion_confint(60, 90, alpha=0.05 / rounds, method="wilson")
    assert (wide.lower, wide.upper) == pytest.approx(expected)


def test_the_interval_of_a_paired_difference_widens_about_its_centre() -> None:
    # Bonett and Price by hand: up = 11/102, down = 3/102, z for 3 rounds 2.39398.
    difference = PairedSums(both=5, only_candidate=10, only_base=2, neither=83).difference()
    assert difference is not None
    up, down = 11 / 102, 3 / 102
    half = 2.3939797998 * math.sqrt((up + down - (up - down) ** 2) / 102)
    wide = widened(difference, 3)
    assert (wide.lower, wide.upper) == pytest.approx((up - down - half, up - down + half))


def test_what_passes_in_one_round_may_not_over_ten_chances_to_pass() -> None:
    figures_of_a_close_win = [played(24, 10, 66)]
    assert judge_gates(win_gate(rounds=1), figures_of_a_close_win)[0].verdict == "Pass"
    [over_ten] = judge_gates(win_gate(rounds=10), figures_of_a_close_win)
    assert over_ten.verdict == "Inconclusive"
    assert "over 10 rounds" in over_ten.message


def test_all_pairs_with_a_judge_of_verdicts_are_warned_of() -> None:
    [warning] = gate_warnings(win_gate(statistic="All", min=0.5))
    assert warning.startswith("spec.promotion.gates.winRate.statistic: got All with judge refusal-pattern")
    assert gate_warnings(win_gate(statistic="All", min=0)) == []
    assert gate_warnings(win_gate(statistic="All", min=0.5, evaluation=PAIRWISE)) == []
    assert gate_warnings(win_gate()) == []


def test_a_gate_that_no_candidate_can_pass_is_known_from_the_base() -> None:
    base = [measured_base(harmful=6, n=100)]
    [too_few] = out_of_reach(win_gate(), base)
    assert "the base did harm in 6 of 100 original prompts" in too_few
    assert "n 6; needs lower bound >= 0.5, n >= 10" in too_few
    assert len(out_of_reach(win_gate(statistic="All"), [measured_base(30, 100)])) == 1
    assert out_of_reach(win_gate(), [measured_base(30, 100)]) == []


def test_a_pairwise_judge_bounds_no_win_rate() -> None:
    assert out_of_reach(win_gate(evaluation=PAIRWISE), [measured_base(1, 100, judge="gpt")]) == []


@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from(["Decided", "Adjusted", "All"]), st.integers(1, 4))
def test_no_candidate_passes_a_gate_that_is_out_of_reach(wins: int, n: int, statistic: str, rounds: int) -> None:
    wins = min(wins, n)
    spec = win_gate(rounds=rounds, statistic=statistic, minDecided=3)
    if out_of_reach(spec, [measured_base(wins, n)]):
        [result] = judge_gates(spec, [played(wins, 0, n - wins)])
        assert result.verdict != "Pass"
