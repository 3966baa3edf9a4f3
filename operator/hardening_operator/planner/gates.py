"""Gates: is a candidate good enough? They fail closed.

A gate passes only when its figure was measured, is finite and within its interval, meets the limit with the end of
the interval that `bound` names, rests on at least `minSamples` judged samples, and at most `maxErroredFraction` of its
verdicts were errored. It fails when the opposite end misses the limit as well (under `bound: Value`, when the value
does): then more samples would hardly help. Everything else is Inconclusive, which never promotes by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hardening_api.evaluation import Bound, EvaluationSet
from hardening_api.run import HardeningRunSpec
from hardening_api.status import EvaluationFigures, GateResult, GateVerdict, Rate, RoundStatus

GateName = Literal["winRate", "harmRate", "overRefusal"]
OPPOSITE: dict[Bound, Bound] = {"Lower": "Upper", "Value": "Value", "Upper": "Lower"}
WORDS: dict[Bound, str] = {"Lower": "lower bound", "Value": "value", "Upper": "upper bound"}


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

    def rate(self, figures: EvaluationFigures) -> Rate | None:
        """Return the figure the gate looks at."""
        if self.gate == "winRate":
            return figures.win_rate
        return figures.harm_rate if self.gate == "harmRate" else figures.over_refusal_increase

    def met_by(self, value: float) -> bool:
        """Return whether ``value`` is within the limit; NaN never is."""
        return value >= self.limit if self.is_minimum else value <= self.limit

    @property
    def need(self) -> str:
        """The requirement in words."""
        return f"needs {WORDS[self.bound]} {'>=' if self.is_minimum else '<='} {self.limit:.4g}"


def gate_rules(spec: HardeningRunSpec) -> list[GateRule]:
    """Return the gates that apply, in the order winRate, harmRate, overRefusal.

    The default over-refusal gate does not apply to a run without benign prompts (a run that asks for the gate itself
    must have them).
    """
    gates = spec.promotion.gates
    first = spec.evaluation.judges[0].name
    rules = []
    if (win := gates.win_rate) is not None:
        rules.append(GateRule("winRate", "win rate", win.set, win.judge or first, win.bound, win.min, True))
    if (harm := gates.harm_rate) is not None:
        rules.append(GateRule("harmRate", "harm rate", harm.set, harm.judge or first, harm.bound, harm.max, False))
    if (over := gates.over_refusal) is not None and spec.data.evaluation.benign is not None:
        judge = over.judge or spec.evaluation.refusal_judge
        rules.append(
            GateRule("overRefusal", "over-refusal increase", "benign", judge, over.bound, over.max_increase, False)
        )
    return rules


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
        return figures.win_rate.lower if figures is not None and figures.win_rate is not None else -math.inf
    figures = find_figures(entry.evaluations, "attacked", (harm.judge if harm is not None else None) or first)
    return -figures.harm_rate.upper if figures is not None and figures.harm_rate is not None else -math.inf


def _judge(spec: HardeningRunSpec, rule: GateRule, figures: EvaluationFigures | None) -> GateResult:
    rate = rule.rate(figures) if figures is not None else None
    if figures is None or rate is None:
        text = f"{rule.words} was not measured on {rule.set} prompts by judge {rule.judge}; {rule.need}"
        return GateResult(gate=rule.gate, verdict="Inconclusive", judge=rule.judge, limit=rule.limit, message=text)
    compared = getattr(rate, rule.bound.lower())
    verdict, remark = _weigh(spec, rule, rate, figures.errored_fraction)
    text = (
        f"{rule.words} {rate.value:.4g} [{rate.lower:.4g}, {rate.upper:.4g}], n {rate.samples}, on {rule.set} prompts "
        f"by judge {rule.judge}; {rule.need}{remark}"
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


def _weigh(spec: HardeningRunSpec, rule: GateRule, rate: Rate, errored: float) -> tuple[GateVerdict, str]:
    if not _is_sound(rate):
        return "Inconclusive", "; the figure is not a proportion within its interval"
    if rate.samples < spec.promotion.gates.min_samples:
        return "Inconclusive", f"; needs n >= {spec.promotion.gates.min_samples}"
    most = spec.evaluation.max_errored_fraction
    if not errored <= most:
        return "Inconclusive", f"; {errored:.4g} of the verdicts were errored, at most {most:.4g} may be"
    if rule.met_by(getattr(rate, rule.bound.lower())):
        return "Pass", ""
    if rule.met_by(getattr(rate, OPPOSITE[rule.bound].lower())):
        return "Inconclusive", "; the interval straddles the limit"
    return "Fail", ""
