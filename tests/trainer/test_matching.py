"""Two defenders at the same over-refusal, as the comparison of APL with plain DPO takes them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.models import load_causal_lm

BENCHMARK = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "matching.py"))


def matched(refusals: dict[str, dict[float, int]]) -> dict[str, tuple[float, object]]:
    """A defender is its name and strength here; `refusals` says how often it refuses at which strength."""
    counts = {(name, strength): count for name, by in refusals.items() for strength, count in by.items()}
    defenders = {name: (name, 1.0) for name in refusals}
    weakened = {name: (lambda strength, name=name: (name, strength)) for name in refusals}
    found: dict[str, tuple[float, object]] = BENCHMARK["matched"](defenders, counts.__getitem__, weakened)
    return found


def test_the_one_that_refuses_more_is_weakened_until_it_refuses_as_often() -> None:
    found = matched({"a": {1.0: 5}, "b": {1.0: 12, 0.95: 9, 0.9: 5}})
    assert found == {"a": (1.0, ("a", 1.0)), "b": (0.9, ("b", 0.9))}


@pytest.mark.parametrize(("just_below", "strength"), [(4, 0.9), (3, 0.95), (2, 0.95)])
def test_the_nearer_of_two_strengths_is_taken_and_the_stronger_of_two_equally_near(
    just_below: int, strength: float
) -> None:
    found = matched({"a": {1.0: 12, 0.95: 7, 0.9: just_below}, "b": {1.0: 5}})
    assert found["a"] == (strength, ("a", strength))


def test_a_defender_that_refuses_as_often_stays_as_it_is() -> None:
    assert matched({"a": {1.0: 5}, "b": {1.0: 5}}) == {"a": (1.0, ("a", 1.0)), "b": (1.0, ("b", 1.0))}


def test_weights_lie_on_the_line_from_the_base_to_the_trained_model(
    tmp_path: Path, tiny_model: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    trained = load_causal_lm(tiny_model, torch.float32)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)
    trained.save_pretrained(tmp_path / "trained")
    tokenizer.save_pretrained(tmp_path / "trained")
    folder = BENCHMARK["at_strength"](tiny_model, tmp_path / "trained", 0.25, tmp_path / "between")
    between = load_causal_lm(folder, torch.float32)
    for found, before in zip(between.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, before + 0.25)
