from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.inference.chat import encode_prompt
from hardening_trainer.inference.sampling import SamplingParams, draw, sample
from hardening_trainer.models import end_of_turn_ids, load_causal_lm, load_tokenizer
from tests.support.passes import tokens_read
from tests.support.tiny_model import build_tiny_model

TEXTS = ["how do I bake bread?", "tell me", "tell me about a walk in the park please", "zzz", "x"]
HOT = SamplingParams(temperature=1.0, top_p=0.9, max_new_tokens=40)


@pytest.fixture(scope="module")
def prompts(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return [encode_prompt(tokenizer, text) for text in TEXTS]


def generated(model: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    ids = torch.tensor([prompt])
    whole: torch.Tensor = model.generate(  # type: ignore[operator]  # typed as a submodule
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count
    )
    return [int(token) for token in whole[0, len(prompt) :]]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2"])
def test_greedy_is_generate_token_by_token(tmp_path: Path, architecture: str) -> None:
    folder = build_tiny_model(tmp_path, architecture=architecture, seed=3)
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    prompts = [encode_prompt(tokenizer, text) for text in TEXTS]
    [eos] = end_of_turn_ids(model, tokenizer)
    params = SamplingParams(temperature=0, max_new_tokens=30)
    for prompt, variants in zip(prompts, sample(model, prompts, 2, params, seed=0, eos_ids=[eos]), strict=True):
        for variant in variants:
            assert variant.token_ids + [eos] * variant.ended == generated(model, prompt, 30)


def test_greedy_keeps_a_sliding_window_shorter_than_the_sequence(tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path, architecture="mistral")
    model = AutoModelForCausalLM.from_pretrained(folder, sliding_window=8)
    prompts = [encode_prompt(load_tokenizer(folder), text) for text in TEXTS]
    params = SamplingParams(temperature=0, max_new_tokens=30)
    drawn = sample(model, prompts, 1, params, seed=0, eos_ids=[])
    for prompt, [variant] in zip(prompts, drawn, strict=True):
        expected = generated(model, prompt, 30)
        assert variant.token_ids[: len(expected)] == expected


def test_batch_size_does_not_change_what_is_drawn(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    whole = sample(model, prompts, 3, HOT, seed=0, eos_ids=[2], batch_size=100)
    assert whole == sample(model, prompts, 3, HOT, seed=0, eos_ids=[2], batch_size=3)
    assert len({tuple(variant.token_ids) for variants in whole for variant in variants}) > 10


def test_a_shard_draws_what_the_whole_draws_for_its_prompts(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    whole = sample(model, prompts, 3, HOT, seed=0, eos_ids=[2])
    shard = sample(model, prompts[2:4], 3, HOT, seed=0, eos_ids=[2], keys=[2, 3])
    assert shard == whole[2:4]


def test_each_prompt_is_read_once_however_many_variants_are_drawn(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    equal = [
        prompts[0][:4] + [token] * 6 for token in (5, 6, 7)
    ]  # four tokens in common, five read apart, one to go on from
    with tokens_read(model) as read:
        sample(model, equal, 8, SamplingParams(temperature=0, max_new_tokens=1), seed=0, eos_ids=[])
    assert read == [4, 3 * 5, 3 * 8]


def test_another_seed_draws_something_else(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    assert sample(model, prompts, 1, HOT, seed=0, eos_ids=[2]) != sample(model, prompts, 1, HOT, seed=1, eos_ids=[2])


def test_an_answer_says_whether_it_ended_or_was_cut(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    variants = [v for own in sample(model, prompts, 8, HOT, seed=0, eos_ids=[2]) for v in own]
    assert {variant.ended for variant in variants} == {True, False}
    assert all(len(variant.token_ids) == 40 for variant in variants if not variant.ended)
    assert all(2 not in variant.token_ids for variant in variants)


def test_prompts_of_one_token_and_equal_prompts_are_sampled(model: PreTrainedModel) -> None:
    params = SamplingParams(temperature=0, max_new_tokens=4)
    [[one], [same], [other]] = sample(model, [[5], [5], [7, 8]], 1, params, seed=0, eos_ids=[])
    assert one == same
    assert one.token_ids == generated(model, [5], 4)
    assert other.token_ids == generated(model, [7, 8], 4)


def test_first_tokens_follow_the_models_softmax(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    params = SamplingParams(temperature=0.7, max_new_tokens=1)
    [variants] = sample(model, prompts[:1], 4000, params, seed=5, eos_ids=[], batch_size=4000)
    with torch.no_grad():
        logits = model(torch.tensor(prompts[:1])).logits[0, -1].double()
    expected = (logits / 0.7).softmax(-1).numpy() * len(variants)
    counts = Counter(variant.token_ids[0] for variant in variants)
    observed = np.array([counts[token] for token in range(len(expected))])
    common = expected >= 5
    assert common.sum() > 5
    seen = [*observed[common], observed[~common].sum()]
    hoped = [*expected[common], expected[~common].sum()]
    assert chisquare(seen, hoped).pvalue > 1e-3


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(1000, -1)
    uniforms = (torch.arange(1000) + 0.5) / 1000
    drawn = Counter(draw(logits, uniforms, temperature=1.0, top_p=0.75).tolist())
    assert drawn == {0: 625, 1: 375}  # 0.5 and 0.3 of 0.8


def test_a_flat_distribution_is_cut_among_all_its_tokens() -> None:
    logits = torch.zeros(1000, 3000)
    tokens = draw(logits, (torch.arange(1000) + 0.5) / 1000, temperature=1.0, top_p=0.9)
    assert len(set(tokens.tolist())) == 1000


def test_without_top_p_every_token_has_its_share() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(1000, -1)
    drawn = Counter(draw(logits, (torch.arange(1000) + 0.5) / 1000, temperature=1.0, top_p=1.0).tolist())
    assert drawn == {0: 500, 1: 300, 2: 200}


@pytest.mark.parametrize(
    ("field", "params"),
    [
        ("temperature", {"temperature": -1.0}),
        ("temperature", {"temperature": float("nan")}),
        ("topP", {"top_p": 0.0}),
        ("topP", {"top_p": 1.1}),
        ("maxNewTokens", {"max_new_tokens": 0}),
    ],
)
def test_bad_sampling_is_refused_by_field(field: str, params: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=field):
        SamplingParams(**params)  # type: ignore[arg-type]
