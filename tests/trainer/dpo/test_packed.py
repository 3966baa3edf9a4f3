"""Packed rows give the log-probabilities and gradients that padded batches give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from hardening_trainer.dpo.packed import add_packed_forward, fit, pack
from hardening_trainer.models import load_causal_lm
from tests.support.tiny_model import build_tiny_model

PAIRS = [
    {"prompt_ids": [5, 6, 7], "chosen_ids": [8, 9, 10, 11], "rejected_ids": [12]},
    {"prompt_ids": [20, 21], "chosen_ids": [22], "rejected_ids": [23, 24, 25]},
    {"prompt_ids": [30, 31, 32, 33, 34, 35], "chosen_ids": [36, 37], "rejected_ids": [38, 39, 40]},
]


def batch() -> dict[str, torch.Tensor]:
    collated = DataCollatorForPreference(pad_token_id=0)(PAIRS)
    labels = collated["input_ids"].masked_fill(collated["completion_mask"] == 0, -100)
    return {"input_ids": collated["input_ids"], "attention_mask": collated["attention_mask"], "labels": labels}


def test_rows_are_as_wide_as_the_longest_pair_and_hold_every_pair_once() -> None:
    rows = fit([10, 3, 7, 2, 8])
    assert rows == [[0], [4, 3], [2, 1]]


def test_a_rejected_token_sees_its_prompt_and_not_the_chosen_answer() -> None:
    packed = pack(**{name: value[[0, 3]] for name, value in batch().items()})
    # one pair: prompt 5 6 7, chosen 8 9 10 (its last token, 11, predicts nothing), rejected none but its first
    assert packed.input_ids.tolist() == [[5, 6, 7, 8, 9, 10]]
    assert packed.targets.tolist() == [8, 9, 10, 11, 12]
    assert packed.sources.tolist() == [[0, 2], [0, 3], [0, 4], [0, 5], [0, 2]]
    assert packed.places.tolist() == [[0, 2], [0, 3], [0, 4], [0, 5], [1, 2]]
    longer = pack(**{name: value[[1, 4]] for name, value in batch().items()})
    assert longer.input_ids.tolist() == [[20, 21, 23, 24]]
    third = pack(**{name: value[[2, 5]] for name, value in batch().items()})
    assert third.input_ids[0].tolist() == [30, 31, 32, 33, 34, 35, 36, 38, 39]
    assert third.position_ids[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 7]
    assert third.seen[0, 8].tolist() == [True] * 6 + [False, True, True]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2"])
def test_packed_and_padded_forward_agree_in_values_and_gradients(tmp_path: Path, architecture: str) -> None:
    model = load_causal_lm(build_tiny_model(tmp_path, architecture=architecture), torch.float32, "cpu")
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    results = []
    for packed in (False, True):
        assert not packed or add_packed_forward(model)
        model.zero_grad()
        output = model(**batch(), fused_lm_head=True)
        output.log_probs.pow(2).sum().backward()
        gradient = model.model.layers[0].self_attn.q_proj.weight.grad.clone()
        results.append((output, gradient, model.lm_head.weight.grad.clone()))
    (padded, *padded_gradients), (rows, *rows_gradients) = results
    for name in ("log_probs", "entropy", "mean_logits", "is_top1"):
        torch.testing.assert_close(getattr(rows, name), getattr(padded, name), atol=1e-5, rtol=1e-4)
    for one, other in zip(rows_gradients, padded_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_model_without_masks_of_our_own_keeps_its_padded_batch(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model, torch.float32, "cpu")
    model.config._attn_implementation = "flash_attention_2"
    assert not add_packed_forward(model)
