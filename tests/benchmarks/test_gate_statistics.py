"""The simulation of the gates: what it draws is what a case says, and a useless candidate seldom passes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gate_statistics import Case, Paired, probabilities, simulate


def test_prompts_differ_around_the_mean_of_a_case() -> None:
    drawn = probabilities(0.3, np.random.default_rng(0).random(20_000))
    assert drawn.mean() == pytest.approx(0.3, abs=0.01)
    assert drawn.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 3), abs=0.01)  # the beta distribution's, by hand


def test_base_and_candidate_answer_the_same_prompts() -> None:
    answers = Paired(20_000, 0.3, 0.3, np.random.default_rng(0))
    agreement = (answers.base == answers.candidate()).mean()
    assert agreement > 0.3**2 + 0.7**2 + 0.05


def test_a_candidate_that_refuses_everything_never_passes_and_a_much_safer_one_does() -> None:
    refuses = Case("refuses", 0.3, 0.0, candidate_refusal=1.0)
    safer = Case("safer", 0.69, 0.24, prompts=80)
    assert simulate(refuses, 30, np.random.default_rng(0))["promoted"]["value"] == 0
    assert simulate(safer, 30, np.random.default_rng(0))["promoted"]["value"] > 0.9


def test_one_that_is_no_better_seldom_passes() -> None:
    useless = Case("no better", 0.6, 0.6)
    assert simulate(useless, 200, np.random.default_rng(0))["promoted"]["value"] < 0.07
