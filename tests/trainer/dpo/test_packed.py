"""Packed rows give the log-probabilities and gradients that padded batches give."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from hardening_trainer.dpo.packed import add_packed_forward, fit, pack
from hardening_trainer.inference.attention import seen_ancestors
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
    assert seen_ancestors(third.ends)[0, 8].tolist() == [True] * 6 + [False, True, True]


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


LENGTHS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=5)


@given(LENGTHS)
def test_every_answer_token_is_predicted_by_a_column_that_sees_what_comes_before_it_and_nothing_else(
    lengths: list[tuple[int, int, int]],
) -> None:
    tokens = itertools.count(1)  # each its own, so that a token says where it came from
    pairs = [[[next(tokens) for _ in range(length)] for length in parts] for parts in lengths]
    sequences = [prompt + chosen for prompt, chosen, _ in pairs] + [prompt + other for prompt, _, other in pairs]
    answers = [chosen for _, chosen, _ in pairs] + [rejected for _, _, rejected in pairs]
    width = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([sequence + [0] * (width - len(sequence)) for sequence in sequences])
    mask = torch.tensor([[place < len(sequence) for place in range(width)] for sequence in sequences]).long()
    starts = torch.tensor([len(sequence) - len(answer) for sequence, answer in zip(sequences, answers, strict=True)])
    labels = ids.masked_fill((mask == 0) | (torch.arange(width)[None] < starts[:, None]), -100)

    packed = pack(ids, mask, labels)

    seen = seen_ancestors(packed.ends)
    assert sorted(packed.places.tolist()) == (labels[:, 1:] != -100).nonzero().tolist()
    for (row, column), target, (sequence, place) in zip(
        packed.sources.tolist(), packed.targets.tolist(), packed.places.tolist(), strict=True
    ):
        assert target == sequences[sequence][place + 1]
        assert packed.input_ids[row][seen[row, column]].tolist() == sequences[sequence][: place + 1]
        assert packed.position_ids[row][seen[row, column]].tolist() == list(range(place + 1))
    assert bool(seen.diagonal(dim1=1, dim2=2).all())
