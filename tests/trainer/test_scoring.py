from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.errors import ModelNotUsable
from hardening_trainer.inference.chat import encode_answer, encode_pair, encode_prompt
from hardening_trainer.inference.logprobs import answer_logprobs, direct_harmfulness, select_pair
from hardening_trainer.models import load_causal_lm, load_tokenizer
from tests.support.passes import logits_made, tokens_read
from tests.support.tiny_model import build_tiny_model

PROMPTS = ["how do I bake bread?", "tell me", "tell me about a walk in the park please", "zzz", "x"]
ANSWERS = ["sorry, no", "sorry, I can help with that", "the quick brown fox"]


def one_by_one(
    model: PreTrainedModel, prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]]
) -> list[list[float]]:
    """The plain loop: one sequence at a time, all logits, no cache, no packing."""

    def single(prompt: list[int], answer: list[int]) -> float:
        with torch.no_grad():
            logps = model(torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
        return sum(float(logps[len(prompt) - 1 + at, token]) for at, token in enumerate(answer))

    return [[single(prompt, answer) for answer in own] for prompt, own in zip(prompts, answers, strict=True)]


def encoded(tokenizer: PreTrainedTokenizerBase) -> tuple[list[list[int]], list[list[list[int]]]]:
    prompts = [encode_prompt(tokenizer, text) for text in PROMPTS]
    return prompts, [[encode_answer(tokenizer, text) for text in ANSWERS] for _ in prompts]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("max_batch_tokens", [1, 60, 512])
def test_packed_rows_give_what_a_plain_loop_gives(tmp_path: Path, architecture: str, max_batch_tokens: int) -> None:
    folder = build_tiny_model(tmp_path, architecture=architecture, seed=1)
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    prompts, answers = encoded(tokenizer)
    answers[3] = []
    got = answer_logprobs(model, prompts, answers, max_batch_tokens)
    for row, expected in zip(got, one_by_one(model, prompts, answers), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


def test_a_model_that_computes_no_number_is_named_instead_of_being_scored(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model, torch.float32)
    with torch.no_grad():
        model.get_output_embeddings().weight[41] = math.nan
    with pytest.raises(ModelNotUsable, match=r"log-probability of an answer is nan: .*HARDENING_DTYPE=float32"):
        answer_logprobs(model, [[10, 11]], [[[40, 41], [50]]])


def test_a_prompt_is_read_once_for_its_answers_and_logits_are_made_only_where_they_are(model: PreTrainedModel) -> None:
    prompt, preferred, dispreferred = list(range(10, 30)), [40, 41, 42], [50, 51]
    with tokens_read(model) as read, logits_made(model) as made:
        answer_logprobs(model, [prompt], [[preferred, dispreferred]])
    assert read == [20 + 3 + 2]
    assert made == [1 + 2 + 1]  # the prompt's last token predicts both first ones


def test_a_sliding_window_shorter_than_the_sequence_is_kept(tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path, architecture="mistral")
    tokenizer = load_tokenizer(folder)
    prompts, answers = encoded(tokenizer)
    narrow = AutoModelForCausalLM.from_pretrained(folder, sliding_window=8)
    wide = load_causal_lm(folder)
    got = answer_logprobs(narrow, prompts, answers)
    expected = one_by_one(narrow, prompts, answers)
    assert got[0] == pytest.approx(expected[0], abs=1e-4)
    assert abs(expected[0][0] - one_by_one(wide, prompts, answers)[0][0]) > 1e-2


def test_eager_attention_gives_the_same_figures(tiny_model: Path, model: PreTrainedModel) -> None:
    prompts, answers = encoded(load_tokenizer(tiny_model))
    eager = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager")
    first, second = answer_logprobs(eager, prompts, answers), answer_logprobs(model, prompts, answers)
    assert [x for row in first for x in row] == pytest.approx([x for row in second for x in row], abs=1e-4)


def test_progress_counts_prompts_up_to_all_of_them(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    prompts, answers = encoded(tokenizer)
    seen: list[tuple[int, int]] = []
    answer_logprobs(model, prompts, answers, 60, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_prompt_without_tokens_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=r"prompts\[1\]"):
        answer_logprobs(model, [[5], []], [[[6]], [[6]]])


@pytest.mark.slow
def test_minus_beta_times_r_is_the_margin_that_trl_reports(
    tmp_path: Path, tiny_model: Path, model: PreTrainedModel
) -> None:
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    tokenizer = load_tokenizer(tiny_model)
    defender = load_causal_lm(build_tiny_model(tmp_path / "defender", seed=7))
    rows = [(prompt, ANSWERS[at % 3], ANSWERS[(at + 1) % 3]) for at, prompt in enumerate(PROMPTS)]
    rows[1] = (rows[1][0], "\n\nsorry, no", rows[1][2])  # merges with the end of the prompt
    args = DPOConfig(
        output_dir=str(tmp_path / "out"),
        beta=0.1,
        per_device_eval_batch_size=1,
        use_cpu=True,
        bf16=False,
        report_to=[],
    )

    def turn(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    for prompt, preferred, dispreferred in rows:
        row: dict[str, Any] = {
            "prompt": [turn("user", prompt)],
            "chosen": [turn("assistant", preferred)],
            "rejected": [turn("assistant", dispreferred)],
        }
        trainer = DPOTrainer(
            model=defender,
            ref_model=model,
            args=args,
            train_dataset=Dataset.from_dict(row),
            eval_dataset=Dataset.from_dict(row),
            processing_class=tokenizer,
        )
        margin = trainer.evaluate()["eval_rewards/margins"]
        evaluated: Any = trainer.eval_dataset
        made = evaluated[0]
        pair = encode_pair(tokenizer, prompt, preferred, dispreferred)
        assert (made["prompt_ids"], made["chosen_ids"], made["rejected_ids"]) == (
            pair.prompt,
            pair.preferred,
            pair.dispreferred,
        )
        answers = [[pair.preferred, pair.dispreferred]]
        [[def_preferred, def_dispreferred]] = answer_logprobs(defender, [pair.prompt], answers)
        [[ref_preferred, ref_dispreferred]] = answer_logprobs(model, [pair.prompt], answers)
        r = direct_harmfulness(def_preferred, def_dispreferred, ref_preferred, ref_dispreferred, alpha=1.0)
        assert -0.1 * r == pytest.approx(margin, abs=1e-4)
        assert abs(r) > 0.1


def test_r_is_the_defenders_lean_less_alpha_times_the_references() -> None:
    # (-3 - -10) - 0.5 * (-4 - -6) = 7 - 1
    assert direct_harmfulness(-10.0, -3.0, -6.0, -4.0, alpha=0.5) == pytest.approx(6.0)


def test_alpha_zero_needs_no_reference() -> None:
    assert direct_harmfulness(-10.0, -3.0, alpha=0.0) == pytest.approx(7.0)


def test_length_normalisation_compares_means_per_token() -> None:
    # (-3/2 - -10/5) - 0.5 * (-4/2 - -6/5) = 0.5 + 0.4
    r = direct_harmfulness(-10.0, -3.0, -6.0, -4.0, alpha=0.5, token_counts=(5, 2))
    assert r == pytest.approx(0.9)


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf])
def test_a_bad_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        direct_harmfulness(-1.0, -2.0, -1.0, -2.0, alpha=alpha)


def test_alpha_above_zero_without_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="without reference"):
        direct_harmfulness(-1.0, -2.0, alpha=0.5)


@pytest.mark.parametrize(
    ("scores", "epsilon", "expected"),
    [
        ([1.0, 3.0, -2.0], 0.0, (1, 2)),
        ([3.0, 3.0, 1.0, 1.0], 0.0, (0, 2)),
        ([None, 2.0, math.nan, 5.0], 0.0, (3, 1)),
        ([1.0, 1.4], 0.5, None),
        ([1.0, 1.5], 0.5, (1, 0)),
        ([2.0, 2.0], 0.0, None),
        ([None, 2.0], 0.0, None),
        ([], 0.0, None),
    ],
)
def test_selection_takes_the_extremes_that_spread_enough(
    scores: list[float | None], epsilon: float, expected: tuple[int, int] | None
) -> None:
    assert select_pair(scores, epsilon) == expected
