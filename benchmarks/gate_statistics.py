"""How often the gates promote a candidate that is no better than the base, and how often one that is.

python -m benchmarks.gate_statistics [--runs 10000] [--output FILE]

    prompts -> answers of base and candidate, drawn at random -> verdicts -> the project's own sums, figures and gates

A simulated run draws its held-out prompts once, each with its own probability of harm (a beta distribution around the
mean, as prompts differ). The base answers once; each round's candidate answers again. A run is promoted when a round's
gates all pass: the first such round under `FirstPass`, the best under `Best`. Nothing is loaded; two minutes on a core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardening_api.evaluation import EvaluationSet, WinStatistic
from hardening_api.run import HardeningRunSpec
from hardening_api.stages import SetSums
from hardening_api.stats import OutcomeSums, PairedSums, RateSums, wilson
from hardening_api.status import EvaluationFigures
from hardening_operator.planner.figures import set_figures
from hardening_operator.planner.gates import judge_gates, overall_verdict

RESULTS = Path(__file__).parent / "results"
JUDGE = "refusal-pattern"
SPREAD = 2.0
"""Sum of the beta distribution's parameters: with 2, most prompts are nearly always or nearly never harmful."""
Draw = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Case:
    """One kind of run: what is true of base and candidate, and which gates judge it."""

    name: str
    base_harm: float
    candidate_harm: float
    base_refusal: float = 0.05
    candidate_refusal: float = 0.05
    prompts: int = 100
    benign: int = 100
    rounds: int = 3
    statistic: WinStatistic = "Decided"
    identical: bool = False
    """The candidate gives the base's very answers."""


USELESS = [
    *(
        Case(f"no better, harm {harm}, {rounds} rounds", harm, harm, rounds=rounds)
        for harm in (0.06, 0.3, 0.6, 0.95)
        for rounds in (1, 3, 10)
    ),
    *(
        Case(f"no better, harm 0.3, {prompts} prompts", 0.3, 0.3, prompts=prompts, benign=prompts)
        for prompts in (30, 512)
    ),
    Case("no better, a tie counted half", 0.3, 0.3, statistic="Adjusted"),
    Case("no better, all pairs", 0.3, 0.3, statistic="All"),
    Case("worse by 5 points", 0.3, 0.35),
    Case("the base itself", 0.3, 0.3, identical=True),
    Case("refuses everything", 0.3, 0.0, candidate_refusal=1.0),
    Case("safer, refuses 20 points more", 0.3, 0.1, candidate_refusal=0.25),
]
USEFUL = [
    *(
        Case(f"harm {base} to {after}, {n} prompts, {statistic}", base, after, prompts=n, statistic=statistic)
        for base, after, n in ((0.06, 0.004, 512), (0.3, 0.12, 100), (0.3, 0.24, 512), (0.69, 0.24, 80))
        for statistic in ("Decided", "Adjusted", "All")
    ),
]


def main() -> None:
    """Simulate every case, print a table and write a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000, help="simulated runs of each case")
    parser.add_argument("--output", type=Path, default=RESULTS / "gate_statistics.json")
    options = parser.parse_args()
    found = {"runs": options.runs, "useless": [], "useful": []}
    for kind, cases in (("useless", USELESS), ("useful", USEFUL)):
        for number, case in enumerate(cases):
            row = simulate(case, options.runs, np.random.default_rng([number, kind == "useful"]))
            found[kind].append(row)
            share = row["promoted"]
            print(f"{case.name:48} {share['value']:.4f} [{share['lower']:.4f}, {share['upper']:.4f}]", flush=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def simulate(case: Case, runs: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the share of runs of a case that are promoted, with its 95 % interval."""
    spec = spec_of(case)
    promoted = sum(any(verdict == "Pass" for verdict in verdicts(case, spec, rng)) for _ in range(runs))
    lower, upper = wilson(promoted, runs)
    return {"case": asdict(case), "promoted": {"value": promoted / runs, "lower": lower, "upper": upper, "n": runs}}


def spec_of(case: Case) -> HardeningRunSpec:
    """Return a spec with the default gates, but for the statistic that the case names."""
    gates = {"winRate": {"statistic": case.statistic}, "overRefusal": {"maxIncrease": 0.1}}
    where = {"uri": "file:///data.jsonl"}
    return HardeningRunSpec.model_validate(
        {
            "model": {"uri": "file:///model"},
            "data": {"preferences": where, "evaluation": {"harmful": where, "benign": where}},
            "rounds": case.rounds,
            "promotion": {"gates": gates},
        }
    )


def verdicts(case: Case, spec: HardeningRunSpec, rng: np.random.Generator) -> Iterator[str]:
    """Yield the overall verdict of each round of one simulated run."""
    harm = Paired(case.prompts, case.base_harm, case.candidate_harm, rng)
    refusal = Paired(case.benign, case.base_refusal, case.candidate_refusal, rng)
    for _ in range(case.rounds):
        answers = harm.base if case.identical else harm.candidate()
        refusals = refusal.base if case.identical else refusal.candidate()
        figures = [figures_of("original", answers, harm.base), figures_of("benign", refusals, refusal.base)]
        yield overall_verdict(judge_gates(spec, figures))


class Paired:
    """Yes-or-no answers to the same prompts by base and candidate; a prompt has one rank on both models' scales."""

    def __init__(self, prompts: int, base: float, candidate: float, rng: np.random.Generator) -> None:
        ranks = rng.random(prompts)
        self._rng = rng
        self._candidate = probabilities(candidate, ranks)
        self.base: Draw = rng.random(prompts) < probabilities(base, ranks)

    def candidate(self) -> Draw:
        """Return one round's answers."""
        drawn: Draw = self._rng.random(len(self._candidate)) < self._candidate
        return drawn


def probabilities(mean: float, ranks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return each prompt's probability: the quantile at its rank of a beta distribution with that mean."""
    from scipy.stats import beta  # noqa: PLC0415  (slow to import, and not needed for the extremes)

    if mean in (0.0, 1.0):
        return np.full(len(ranks), mean)
    return np.asarray(beta.ppf(ranks, mean * SPREAD, (1 - mean) * SPREAD))


def figures_of(evaluation_set: EvaluationSet, candidate: Draw, base: Draw) -> EvaluationFigures:
    """Return the project's figures of one set, from what was drawn."""
    pairs = list(zip(candidate.tolist(), base.tolist(), strict=True))
    if evaluation_set == "benign":
        sums = SetSums(set="benign", judge=JUDGE, refusal_pairs=PairedSums.of(pairs), asked=len(pairs))
    else:
        words = {(True, True): "tie", (False, False): "tie", (False, True): "win", (True, False): "loss"}
        outcomes = OutcomeSums.of([[words[pair]] for pair in pairs])
        harmful = RateSums.of([[mine] for mine, _ in pairs])
        sums = SetSums(set=evaluation_set, judge=JUDGE, harmful=harmful, outcomes=outcomes, asked=len(pairs))
    return set_figures([sums], None)


if __name__ == "__main__":
    main()
