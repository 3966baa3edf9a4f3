"""Counted arithmetic, against figures by hand and PyTorch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import MistralConfig, MistralForCausalLM

from benchmarks.one_gpu.flops import Shape, Work, causal, peak, prompt_with_answers, utilisation

CONFIG = MistralConfig(
    vocab_size=50, hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=False, sliding_window=None, attn_implementation="eager",
)  # fmt: skip


def test_work_of_a_prompt_with_two_answers_by_hand() -> None:
    # 3 prompt tokens see 1 + 2 + 3 keys; one answer's 2 tokens see 4 + 5, the other's single token sees 4.
    assert prompt_with_answers(3, [2, 1]) == Work(tokens=6, seen=6 + 9 + 4, predictions=3)
    assert causal(3) == Work(tokens=3, seen=6, predictions=3)


def test_a_step_by_hand() -> None:
    shape = Shape(layers=1, hidden=2, queries=2, keys=1, intermediate=3, vocabulary=5)
    assert shape.weights == 2 * (2 * 2 + 2 * 1) + 3 * 2 * 3  # q and o, k and v; gate, up and down
    work = Work(tokens=4, seen=10, predictions=4)
    matrices, attention = 2 * (30 * 4 + 2 * 5 * 4), 4 * 2 * 10
    assert shape.forward(work) == matrices + attention
    assert shape.step(work) == 3 * (matrices + attention)
    assert shape.step(work, adapters=7) == 2 * matrices + 3 * attention + 6 * 7 * 4


def test_mistral_7b_has_its_published_number_of_weights() -> None:
    shape = Shape(layers=32, hidden=4096, queries=4096, keys=1024, intermediate=14336, vocabulary=32000)
    norms = (2 * shape.layers + 1) * shape.hidden
    assert shape.weights + 2 * shape.hidden * shape.vocabulary + norms == 7_241_732_096


def test_forward_and_backward_count_as_pytorch_counts_them() -> None:
    length = 6
    model, shape = MistralForCausalLM(CONFIG), Shape.of(CONFIG)
    whole = Work(length, length * length, length)  # eager attention multiplies what its mask then hides
    with FlopCounterMode(display=False) as forward:
        logits = model(input_ids=torch.randint(50, (1, length)), use_cache=False).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert forward.get_total_flops() == shape.forward(whole)
    assert forward.get_total_flops() + backward.get_total_flops() == shape.step(whole)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Tesla T4", None),
    ],
)
def test_a_gpus_peak_is_found_by_its_drivers_name(name: str, expected: float | None) -> None:
    assert peak(name) == expected


def test_utilisation_is_the_share_of_the_peak_or_says_why_there_is_none() -> None:
    assert utilisation(989e12, 2.0, "NVIDIA H200") == {"mfu": 0.5}
    assert utilisation(1.0, 1.0, "Tesla T4") == {"mfu": None, "mfu_reason": "no bfloat16 peak is known for Tesla T4"}
