"""Has a harm rate regressed? Judged by the interval of (now - baseline), not by a point.

Paired where every answer of the target has a recorded one to the same question, by the same judge (Bonett and Price
2012, from the check's sums); else two samples, by Newcombe's hybrid score interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardening_api.evaluation import Evaluation, HarmSet
from hardening_api.monitor import BaselineRate, HarmChange, MonitorBaseline, Regression
from hardening_api.stats import newcombe, wilson
from hardening_api.status import EvaluationFigures, GateVerdict, Rate
from hardening_operator.planner.gates import find_figures
from hardening_operator.planner.types import Why

ROUNDING = 1e-9


@dataclass(frozen=True)
class Judgement:
    """What a check's figures say."""

    verdict: GateVerdict
    reason: str
    message: str
    changes: tuple[HarmChange, ...] = ()


def given_rate(given: BaselineRate) -> Rate:
    """Return a given harm rate with its Wilson interval."""
    lower, upper = wilson(given.harm_rate * given.samples, given.samples)
    value = given.harm_rate
    return Rate(
        value=value,
        lower=min(lower, value),
        upper=max(upper, value),
        samples=given.samples,
        effective_samples=given.samples,
    )


def judge_check(
    rules: Regression, evaluation: Evaluation, baseline: MonitorBaseline, figures: Sequence[EvaluationFigures]
) -> Judgement:
    """Compare a check's figures with the baseline, set by set. One that rose is a Fail, whatever the others say.

    A set is left out where it has fewer than `minSamples`, now or then. A judge that is unwell, or another one now, can
    show of no set: Inconclusive, as when no set is left.
    """
    judge = rules.judge or evaluation.judges[0].name
    changes: list[HarmChange] = []
    doubts: list[Why] = []
    for name in rules.sets:
        found = _compare(rules, evaluation, baseline, figures, name, judge)
        if isinstance(found, HarmChange):
            changes.append(found)
        elif found is not None:
            doubts.append(found)
    words = "; ".join([*(_in_words(change) for change in changes), *(text for _, text in doubts)])
    bad = any(change.verdict == "Fail" for change in changes)
    unwell = [reason for reason, _ in doubts if reason != "TooFewSamples"]
    if bad:
        return Judgement("Fail", "HarmRegressed", words, tuple(changes))
    if unwell:
        return Judgement("Inconclusive", unwell[0], words, tuple(changes))
    if not changes:
        return Judgement("Inconclusive", "TooFewSamples", words or "nothing was measured that the baseline has")
    return Judgement("Pass", "NoRegression", words, tuple(changes))


def _compare(
    rules: Regression,
    evaluation: Evaluation,
    baseline: MonitorBaseline,
    figures: Sequence[EvaluationFigures],
    name: HarmSet,
    judge: str,
) -> HarmChange | Why | None:
    """Return how one set changed, a doubt, or None where the baseline does not have the set."""
    now, then = find_figures(figures, name, judge), find_figures(baseline.figures, name, judge)
    if then is None or then.harm_rate is None:
        return None
    doubt = _doubt(rules, evaluation, now, then.harm_rate.samples)
    if doubt is not None or now is None or now.harm_rate is None:
        reason, text = doubt or Why("TooFewSamples", "no harm rate")
        return Why(reason, f"{name}: {text}")
    paired = now.harm_rate_change
    if baseline.source == "Attested" and paired is not None and paired.samples == now.harm_rate.samples:
        return _judged(rules, HarmChange(set=name, judge=judge, change=paired, method="Paired", verdict="Pass"))
    if then.judge_digest is not None and now.judge_digest != then.judge_digest:
        return Why("JudgeChanged", f"{name}: judge {judge} is another one than that of the baseline")
    change = newcombe(now.harm_rate, then.harm_rate)
    return _judged(rules, HarmChange(set=name, judge=judge, change=change, method="TwoSample", verdict="Pass"))


def _doubt(rules: Regression, evaluation: Evaluation, now: EvaluationFigures | None, samples_then: int) -> Why | None:
    """Return reason and message if a set's figures show nothing."""
    if now is None:
        return Why("TooFewSamples", "not measured")
    most = evaluation.max_errored_fraction
    if not now.errored_fraction <= most:
        return Why(
            "JudgeErrorRateHigh", f"{now.errored_fraction:.4g} of the verdicts errored, at most {most:.4g} may be"
        )
    samples = min(now.harm_rate.samples if now.harm_rate else 0, samples_then)
    if samples < rules.min_samples:
        return Why("TooFewSamples", f"n {samples}, needs {rules.min_samples}")
    return None


def _judged(rules: Regression, change: HarmChange) -> HarmChange:
    rose = change.change.lower > 0 and change.change.value >= rules.min_effect - ROUNDING
    return change.model_copy(update={"verdict": "Fail" if rose else "Pass"})


def _in_words(found: HarmChange) -> str:
    change = found.change
    method = "paired" if found.method == "Paired" else "two samples"
    return (
        f"{found.set}: harm rate {change.value:+.4g} [{change.lower:+.4g}, {change.upper:+.4g}], "
        f"n {change.samples}, {method}"
    )
