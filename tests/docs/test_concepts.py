"""The numbers of docs/concepts.md are what the scorer, the selection and the gates compute."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from hardening_api.evaluation import Evaluation, Gates, Promotion
from hardening_api.run import HardeningRunSpec
from hardening_api.stats import RateSums, wilson
from hardening_api.status import EvaluationFigures
from hardening_api.training import Scoring, Training
from hardening_operator.planner.gates import judge_gates
from hardening_trainer.attack.pair_selection import Selected, select
from hardening_trainer.inference.logprobs import direct_harmfulness
from tests.api.manifests import small
from tests.support.pages import ROOT

PAGE = (ROOT / "docs" / "concepts.md").read_text()
TOKENS = (8, 14)


def _rows(first_cell: str) -> Iterator[list[str]]:
    """Yield the cells of the rows below the table head that begins with ``first_cell``."""
    body = PAGE.split(f"| {first_cell} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    for line in body:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _variants() -> list[dict[str, Any]]:
    names = ("variant", "status", "def_w", "def_l", "ref_w", "ref_l", "r_0", "r_half", "r_per_token")
    return [dict(zip(names, row, strict=True)) for row in _rows("variant")]


def _harmfulness(row: dict[str, Any], alpha: float = 0.0, tokens: tuple[int, int] | None = None) -> float:
    preferred, dispreferred, *reference = (float(row[name]) for name in ("def_w", "def_l", "ref_w", "ref_l"))
    return direct_harmfulness(preferred, dispreferred, *reference, alpha=alpha, token_counts=tokens)


def test_the_example_has_the_r_that_the_scorer_computes() -> None:
    valid = [row for row in _variants() if row["status"] == "Valid"]

    assert [row["variant"] for row in valid] == ["0", "1", "3"]
    for row in valid:
        assert f"{_harmfulness(row):.2f}" == row["r_0"]
        assert f"{_harmfulness(row, alpha=0.5):.2f}" == row["r_half"]
        assert f"{_harmfulness(row, tokens=TOKENS):.2f}" == row["r_per_token"]
    assert f"`y_w` has {TOKENS[0]} tokens, `y_l` has {TOKENS[1]}" in PAGE


def test_the_example_gives_the_pairs_that_the_selection_makes() -> None:
    rows = [{"variant_index": int(row["variant"]), "status": row["status"]} for row in _variants()]
    scores = {int(row["variant"]): _harmfulness(row) for row in _variants() if row["status"] == "Valid"}
    found = select(rows, scores, Scoring().epsilon, 2)

    assert isinstance(found, Selected)
    shown = re.search(r"`pairsPerPrompt: 2` gives the attacker the pairs \((\d), (\d)\) and \((\d), (\d)\)", PAGE)
    pairs = [(one["variant_index"], other["variant_index"]) for one, other in found.pairs]
    assert shown is not None
    assert [int(index) for index in shown.groups()] == [index for pair in pairs for index in pair]
    assert f"differ by {max(scores.values()) - min(scores.values()):.1f} nats" in PAGE
    assert f"variant 3 is {1 / (1 + math.exp(-Training().beta * scores[3])):.2f}." in PAGE


@pytest.mark.parametrize("row", list(_rows("wins")), ids=lambda row: f"{row[0]} won, {row[1]} lost")
def test_the_example_of_a_gate_has_the_verdict_that_the_gate_gives(row: list[str]) -> None:
    wins, losses = int(row[0]), int(row[1])
    spec = HardeningRunSpec.model_validate(small()["spec"])
    assert spec.promotion.gates == Promotion().gates
    rate = RateSums.of([[index < wins] for index in range(wins + losses)]).rate()
    judge = spec.evaluation.judges[0].name
    figures = EvaluationFigures(set="original", judge=judge, win_rate_decided=rate)
    [gate] = [gate for gate in judge_gates(spec, [figures]) if gate.gate == "winRate"]

    assert rate is not None
    assert spec.rounds == 3
    assert row[2] == f"{rate.value:.4g} [{rate.lower:.3g}, {rate.upper:.3g}]"
    assert row[3] == f"{gate.value:.3f}"
    assert row[4] == gate.verdict


def test_the_defaults_it_names_are_those_of_the_contract() -> None:
    gates, scoring, training = Promotion().gates, Scoring(), Training()
    assert gates.win_rate is not None
    assert gates.over_refusal is not None
    named = {
        f"(`scoring.alpha`, {scoring.alpha:.0f} by default)",
        f"(`scoring.epsilon`, {scoring.epsilon} nats)",
        f"(`scoring.pairsPerPrompt`, {scoring.pairs_per_prompt})",
        f"(`training.originalShare`, {training.original_share})",
        f"(`training.benignShare`, {training.benign_share})",
        f"`minSamples` ({Gates(win_rate=gates.win_rate).min_samples})",
        f"`maxErroredFraction`, {Evaluation().max_errored_fraction}",
        f"at least {gates.win_rate.min} on `{gates.win_rate.set}`, of {gates.win_rate.statistic.lower()} pairs",
        f"increase of at most {gates.over_refusal.max_increase} on `benign` | the {gates.over_refusal.bound.lower()}",
        f"0 harmful\nof 100 has an upper bound of {wilson(0, 100)[1]:.3f}",
    }

    assert {text for text in named if text not in PAGE} == set()
