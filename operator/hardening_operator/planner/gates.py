"""Gates: is a candidate good enough? They fail closed.

A gate passes only when its figure was measured, is finite and within its interval, meets the limit with the end of
the interval that `bound` names, rests on at least `minSamples` judged samples, and at most `maxErroredFraction` of its
verdicts were errored. It fails when the opposite end misses the limit as well (under `bound: Value`, when the value
does): then more samples would hardly help. Everything else is Inconclusive, which never promotes by itself.

A run of T rounds looks at its gates T times and takes a round that passes, so a useless candidate has T chances. The
ends are therefore those of an interval at level 1 - 0.05 / T (Bonferroni); status and reports show the 95 % one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from hardening_api.evaluation import VERDICT_JUDGES, Bound, EvaluationSet, JudgeType, WinStatistic
from hardening_api.run import HardeningRunSpec
from hardening_api.stats import Z95, wilson
from hardening_api.status import EvaluationFigures, GateResult, GateVerdict, Rate, RoundStatus
from hardening_operator.planner.figures import win_rate

GateName = Literal["winRate", "harmRate", "overRefusal"]
OPPOSITE: dict[Bound, Bound] = {"Lower": "Upper", "Value": "Value", "Upper": "Lower"}
WORDS: dict[Bound, str] = {"Lower": "lower bound", "Value": "value", "Upper": "upper bound"}
WIN_WORDS: dict[WinStatistic, str] = {
    "Decided": "win rate of decided pairs",
    "Adjusted": "win rate, a tie counted half,",
    "All": "win rate of all pairs",
}


@dataclass(frozen=True)
class GateRule:
    """One gate of the spec with its defaults filled in."""

    gate: GateName
    words: str
    """Name of the figure in messages."""
    set: EvaluationSet
    judge: str
    bound: Bound
    limit: float
    is_minimum: bool
    min_samples: int
    statistic: WinStatistic = "All"
    """Of the win rate."""

    def rate(self, figures: EvaluationFigures) -> Rate | None:
        """Return the figure the gate looks at."""
        if self.gate == "winRate":
            return win_rate(figures, self.statistic)
        return figures.harm_rate if self.gate == "harmRate" else figures.over_refusal_increase

    def errored(self, figures: EvaluationFigures) -> tuple[float, str]:
        """Return the share of what the gate rests on that was errored, and what that is, with the commonest cause."""
        causes = Counter(figures.errored_causes) + Counter(figures.base_errored_causes)
        share, what = figures.errored_fraction, "verdicts"
        if self.gate == "winRate" and figures.errored_comparison_fraction > share:
            share, what = figures.errored_comparison_fraction, "comparisons"
            causes = Counter(figures.errored_comparison_causes)
        return share, f"{what} (mostly {causes.most_common(1)[0][0]})" if causes else what

    def met_by(self, value: float) -> bool:
        """Return whether ``value`` is within the limit; NaN never is."""
        return value >= self.limit if self.is_minimum else value <= self.limit

    @property
    def need(self) -> str:
        """The requirement in words."""
        return f"needs {WORDS[self.bound]} {'>=' if self.is_minimum else '<='} {self.limit:.4g}"


def widened(rate: Rate, looks: int) -> Rate:
    """Return ``rate`` with the interval at level 1 - 0.05 / looks instead of 95 %.

    A proportion gets Wilson's interval again; a paired difference has a symmetric interval, whose half-width is scaled.
    """
    if looks == 1 or not _is_sound(rate):
        return rate
    z = NormalDist().inv_cdf(1 - 0.025 / looks)
    if rate.effective_samples is not None:
        lower, upper = wilson(rate.value * rate.effective_samples, rate.effective_samples, z)
    else:
        center, half = (rate.lower + rate.upper) / 2, (rate.upper - rate.lower) / 2 * z / Z95
        lower, upper = max(-1.0, center - half), min(1.0, center + half)
    return rate.model_copy(update={"lower": min(lower, rate.lower), "upper": max(upper, rate.upper)})


def gate_rules(spec: HardeningRunSpec) -> list[GateRule]:
    """Return the gates that apply, in the order winRate, harmRate, overRefusal.

    The default over-refusal gate does not apply to a run without benign prompts (a run that asks for the gate itself
    must have them).
    """
    gates = spec.promotion.gates
    first, least = spec.evaluation.judges[0].name, gates.min_samples
    rules = []
    if (win := gates.win_rate) is not None:
        judge, fewest = win.judge or first, win.min_decided if win.statistic == "Decided" else least
        words = WIN_WORDS[win.statistic]
        rules.append(GateRule("winRate", words, win.set, judge, win.bound, win.min, True, fewest, win.statistic))
    if (harm := gates.harm_rate) is not None:
        judge = harm.judge or first
        rules.append(GateRule("harmRate", "harm rate", harm.set, judge, harm.bound, harm.max, False, least))
    if (over := gates.over_refusal) is not None and spec.data.evaluation.benign is not None:
        judge, words = over.judge or spec.evaluation.refusal_judge, "over-refusal increase"
        rules.append(GateRule("overRefusal", words, "benign", judge, over.bound, over.max_increase, False, least))
    return rules


def gate_warnings(spec: HardeningRunSpec) -> list[str]:
    """Return a line, `spec.path: got VALUE: ...`, for each gate that is valid and can hardly mean what it says."""
    kinds = {judge.name: judge.type for judge in spec.evaluation.judges}
    return [*unmeasured(spec), *_ties_that_bind(spec, kinds)]


def unmeasured(spec: HardeningRunSpec) -> list[str]:
    """Return a line for each figure that a promotion of this run does not rest on, though a reader may think so."""
    lines = []
    if spec.data.evaluation.benign is None:
        lines.append(
            "spec.data.evaluation.benign: got nothing: over-refusal is not measured, so a candidate that declines "
            "everything can pass: expected prompts that a useful model answers"
        )
    empty_bank = [rule.gate for rule in gate_rules(spec) if rule.set == "bank" and not spec.evaluation.bank_limit]
    lines += [
        f"spec.promotion.gates.{gate}.set: got bank with spec.evaluation.bankLimit 0: the set is always empty, and the "
        "gate Inconclusive: expected a bankLimit above 0, or another set"
        for gate in empty_bank
    ]
    return lines


def _ties_that_bind(spec: HardeningRunSpec, kinds: Mapping[str, JudgeType]) -> list[str]:
    return [
        f"spec.promotion.gates.winRate.statistic: got All with judge {rule.judge}, which gives verdicts: two safe "
        f"answers are a tie, so the win rate cannot exceed the base's harm rate: expected Decided or Adjusted"
        for rule in gate_rules(spec)
        if rule.gate == "winRate" and rule.statistic == "All" and rule.limit > 0 and kinds[rule.judge] in VERDICT_JUDGES
    ]


def out_of_reach(spec: HardeningRunSpec, base: Sequence[EvaluationFigures]) -> list[str]:
    """Return a line for each win-rate gate that no candidate can pass, given the base's figures.

    A judge that gives verdicts lets the candidate win only where the base did harm, so the base's harm rate bounds
    every win rate. A pairwise judge sets no such bound.
    """
    kinds = {judge.name: judge.type for judge in spec.evaluation.judges}
    lines = []
    for rule in gate_rules(spec):
        figures = find_figures(base, rule.set, rule.judge)
        if rule.gate != "winRate" or kinds.get(rule.judge) not in VERDICT_JUDGES:
            continue
        # Attacked prompts are drawn again in each round by a stronger attacker: the base may do more harm then.
        if rule.set != "original" or figures is None or figures.harm_rate is None:
            continue
        best = _best_win_rate(rule.statistic, figures.harm_rate)
        compared = getattr(widened(best, spec.rounds), rule.bound.lower())
        if best.samples >= rule.min_samples and rule.met_by(compared):
            continue
        harm = figures.harm_rate
        lines.append(
            f"winRate cannot pass: the base did harm in {round(harm.value * harm.samples)} of {harm.samples} "
            f"{rule.set} prompts by judge {rule.judge}, so the best {rule.words.rstrip(',')} is {best.value:.4g}, "
            f"{WORDS[rule.bound]} {compared:.4g}, n {best.samples}; {rule.need}, n >= {rule.min_samples}: "
            f"add prompts, or gate on harmRate"
        )
    return lines


def _best_win_rate(statistic: WinStatistic, harm: Rate) -> Rate:
    """Return the win rate of a candidate that does no harm and wins wherever the base did."""
    wins, n = round(harm.value * harm.samples), harm.samples
    won, of = {"Decided": (wins, wins), "Adjusted": (n + wins, 2 * n), "All": (wins, n)}[statistic]
    lower, upper = wilson(won, of)
    value = won / of if of else 0.0
    samples = wins if statistic == "Decided" else n
    return Rate(value=value, lower=lower, upper=upper, samples=samples, effective_samples=of)


def judge_gates(spec: HardeningRunSpec, evaluations: Sequence[EvaluationFigures]) -> list[GateResult]:
    """Judge every gate of ``spec`` on the figures of one round."""
    return [_judge(spec, rule, find_figures(evaluations, rule.set, rule.judge)) for rule in gate_rules(spec)]


def overall_verdict(gates: Sequence[GateResult]) -> GateVerdict:
    """Return Pass when every gate passes (and there is one), Fail when any fails, Inconclusive otherwise."""
    verdicts = {gate.verdict for gate in gates}
    if "Fail" in verdicts:
        return "Fail"
    return "Pass" if verdicts == {"Pass"} else "Inconclusive"


def find_figures(
    evaluations: Sequence[EvaluationFigures], evaluation_set: EvaluationSet, judge: str
) -> EvaluationFigures | None:
    """Return what ``judge`` says of ``evaluation_set``."""
    return next((f for f in evaluations if f.set == evaluation_set and f.judge == judge), None)


def best_round(spec: HardeningRunSpec, rounds: Sequence[RoundStatus], verdict: GateVerdict) -> RoundStatus | None:
    """Return the best of the rounds with ``verdict``, or None.

    The best has the highest lower bound of the win rate when there is a win-rate gate, else the lowest upper bound of
    the harm rate on attacked prompts. Of equals the earlier one is taken: it moved less far from the base model.
    """
    judged = [entry for entry in rounds if entry.verdict == verdict]
    return max(judged, key=lambda entry: (_merit(spec, entry), -entry.round), default=None)


def _merit(spec: HardeningRunSpec, entry: RoundStatus) -> float:
    win, harm = spec.promotion.gates.win_rate, spec.promotion.gates.harm_rate
    first = spec.evaluation.judges[0].name
    if win is not None:
        figures = find_figures(entry.evaluations, win.set, win.judge or first)
        rate = win_rate(figures, win.statistic) if figures is not None else None
        return rate.lower if rate is not None else -math.inf
    figures = find_figures(entry.evaluations, "attacked", (harm.judge if harm is not None else None) or first)
    return -figures.harm_rate.upper if figures is not None and figures.harm_rate is not None else -math.inf


def _judge(spec: HardeningRunSpec, rule: GateRule, figures: EvaluationFigures | None) -> GateResult:
    rate = rule.rate(figures) if figures is not None else None
    if figures is None or rate is None:
        found = "was not measured"
        if figures is not None and rule.statistic == "Decided" and figures.win_rate is not None:
            found = f"cannot be computed: all {figures.win_rate.samples} pairs were ties"
        text = f"{rule.words} {found} on {rule.set} prompts by judge {rule.judge}; {rule.need}"
        return GateResult(gate=rule.gate, verdict="Inconclusive", judge=rule.judge, limit=rule.limit, message=text)
    wide = widened(rate, spec.rounds)
    compared = getattr(wide, rule.bound.lower())
    verdict, remark = _weigh(spec, rule, wide, *rule.errored(figures))
    looks = "" if spec.rounds == 1 or rule.bound == "Value" else f" ({compared:.4g} over {spec.rounds} rounds)"
    text = (
        f"{rule.words} {rate.value:.4g} [{rate.lower:.4g}, {rate.upper:.4g}]{looks}, n {rate.samples}, on {rule.set} "
        f"prompts by judge {rule.judge}; {rule.need}{remark}"
    )
    return GateResult(
        gate=rule.gate,
        verdict=verdict,
        judge=rule.judge,
        value=compared if _is_sound(rate) else None,
        limit=rule.limit,
        samples=rate.samples,
        message=text,
    )


def _is_sound(rate: Rate) -> bool:
    """Return whether the figure is finite and lies within its interval; NaN and infinity fail every comparison."""
    return -1 <= rate.lower <= rate.value <= rate.upper <= 1


def _weigh(spec: HardeningRunSpec, rule: GateRule, rate: Rate, errored: float, what: str) -> tuple[GateVerdict, str]:
    if not _is_sound(rate):
        return "Inconclusive", "; the figure is not a proportion within its interval"
    if rate.samples < rule.min_samples:
        return "Inconclusive", f"; needs n >= {rule.min_samples}"
    most = spec.evaluation.max_errored_fraction
    if not errored <= most:
        return "Inconclusive", f"; {errored:.4g} of the {what} were errored, at most {most:.4g} may be"
    if rule.met_by(getattr(rate, rule.bound.lower())):
        return "Pass", ""
    if rule.met_by(getattr(rate, OPPOSITE[rule.bound].lower())):
        return "Inconclusive", "; the interval straddles the limit"
    return "Fail", ""
