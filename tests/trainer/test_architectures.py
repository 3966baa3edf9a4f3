"""Scoring, sampling and training give what a plain forward pass of each sequence gives, whatever a model's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from hardening_trainer.dpo.packed import add_packed_forward
from hardening_trainer.errors import ModelNotUsable
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.inference.sampling import SamplingParams, sample
from hardening_trainer.inference.sharing import may_cache, shares_beginnings
from hardening_trainer.models import load_causal_lm
from tests.support.architectures import ARCHITECTURES, WINDOW, Architecture
from tests.support.tiny_model import build_tiny_model

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGINNING = [5, 6, 7, 8, 9]
PROMPTS = [[*BEGINNING, *range(20, 34)], [*BEGINNING, *range(20, 30), 90, 91, 92, 93], [*BEGINNING, 95, 96, 97]]
ANSWERS = [[[40, 41, 42, 43], [50, 51]], [[60], [61, 62, 63, 64, 65]], [[70, 71], [72]]]
NEW_TOKENS = 10


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda architecture: architecture.type)
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Architecture, PreTrainedModel]:
    architecture: Architecture = request.param
    folder = architecture.build(tmp_path_factory.mktemp(architecture.type))
    return architecture, load_causal_lm(folder, torch.float32, "cpu")


def plain_logps(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Log-probabilities [T, V] of one sequence, alone and without a cache."""
    logps: torch.Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    return logps


def test_an_architecture_is_taken_as_the_table_says(loaded: tuple[Architecture, PreTrainedModel]) -> None:
    architecture, model = loaded
    assert model.config.get_text_config()._attn_implementation == architecture.attention
    assert shares_beginnings(model) == architecture.shares
    assert may_cache(model) == (architecture.type != "rwkv")
    assert min(len(prompt) for prompt in PROMPTS) + NEW_TOKENS > WINDOW


@torch.no_grad()
def test_scores_are_those_of_each_sequence_alone(loaded: tuple[Architecture, PreTrainedModel]) -> None:
    _, model = loaded
    for prompt, answers, scores in zip(PROMPTS, ANSWERS, answer_logprobs(model, PROMPTS, ANSWERS), strict=True):
        for answer, score in zip(answers, scores, strict=True):
            logps = plain_logps(model, prompt + answer)[len(prompt) - 1 :]
            expected = sum(float(logps[place, token]) for place, token in enumerate(answer))
            assert score == pytest.approx(expected, abs=1e-3)


@torch.no_grad()
def test_greedy_answers_are_those_of_each_sequence_alone(loaded: tuple[Architecture, PreTrainedModel]) -> None:
    _, model = loaded
    params = SamplingParams(temperature=0, max_new_tokens=NEW_TOKENS)
    for prompt, variants in zip(PROMPTS, sample(model, PROMPTS, 2, params, seed=0, eos_ids=[]), strict=True):
        expected: list[int] = []
        for _ in range(NEW_TOKENS):
            expected.append(int(plain_logps(model, prompt + expected)[-1].argmax()))
        assert [variant.token_ids for variant in variants] == [expected, expected]


@torch.no_grad()
def test_drawn_answers_do_not_depend_on_who_else_is_asked(loaded: tuple[Architecture, PreTrainedModel]) -> None:
    _, model = loaded
    params = SamplingParams(temperature=1.0, max_new_tokens=NEW_TOKENS)
    whole = sample(model, PROMPTS, 2, params, seed=0, eos_ids=[7, 9])
    alone = [
        sample(model, [prompt], 2, params, seed=0, eos_ids=[7, 9], keys=[key]) for key, prompt in enumerate(PROMPTS)
    ]
    assert whole == [variants for [variants] in alone]


def test_a_trainings_log_probabilities_and_gradients_are_those_of_each_sequence_alone(
    loaded: tuple[Architecture, PreTrainedModel],
) -> None:
    architecture, model = loaded
    batch = training_batch()
    expected = torch.cat([answer_logps(model, *row) for row in zip(*batch.values(), strict=True)])
    wanted = gradients(model, expected)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    assert add_packed_forward(model) == architecture.packs
    model.train()
    output = model(**batch, fused_lm_head=True)
    got = output.log_probs[output.label_mask]
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-4)
    found = gradients(model, got)
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max()) + 1.0
        assert float((gradient - found[name]).abs().max()) < 5e-3 * scale, name


def training_batch() -> dict[str, torch.Tensor]:
    """Two pairs in TRL's batch, longer than a window."""
    pairs: list[dict[str, Any]] = [
        {"prompt_ids": PROMPTS[0], "chosen_ids": [40, 41, 42, 43], "rejected_ids": [50, 51]},
        {"prompt_ids": PROMPTS[2], "chosen_ids": [60, 61], "rejected_ids": [61, 62, 63, 64, 65]},
    ]
    collated = DataCollatorForPreference(pad_token_id=0)(pairs)
    labels = collated["input_ids"].masked_fill(collated["completion_mask"] == 0, -100)
    return {"input_ids": collated["input_ids"], "attention_mask": collated["attention_mask"], "labels": labels}


def answer_logps(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of one row's answer tokens, in order."""
    length = int(mask.sum())
    logps = plain_logps(model, ids[:length].tolist())
    places = [place for place in range(1, length) if labels[place] != -100]
    return torch.stack([logps[place - 1, labels[place]] for place in places])


def gradients(model: PreTrainedModel, logps: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss in which every token counts differently."""
    model.zero_grad()
    logps.pow(2).sum().backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def test_the_docs_list_the_tested_architectures() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [architecture.row for architecture in ARCHITECTURES]


@pytest.mark.parametrize("type_", ["llama", "mamba"])
def test_a_model_that_computes_no_number_is_not_sampled(tmp_path: Path, type_: str) -> None:
    [architecture] = [one for one in ARCHITECTURES if one.type == type_]
    model = load_causal_lm(architecture.build(tmp_path), torch.float32, "cpu")
    with torch.no_grad():
        model.get_output_embeddings().weight[41] = float("nan")
    params = SamplingParams(temperature=1.0, max_new_tokens=3)
    with pytest.raises(ModelNotUsable, match=r"logit of a next token is nan: .*HARDENING_DTYPE=float32"):
        sample(model, PROMPTS, 2, params, seed=0, eos_ids=[])


def test_a_model_whose_rows_mix_is_found_out_at_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that looks at its neighbour in the row, in a class that is otherwise like any other."""
    from transformers.models.llama.modeling_llama import LlamaMLP

    plain = LlamaMLP.forward
    monkeypatch.setattr(
        LlamaMLP, "forward", lambda self, x: plain(self, x + torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1])
    )
    model = load_causal_lm(build_tiny_model(tmp_path), torch.float32, "cpu")
    assert not shares_beginnings(model)
    assert not may_cache(model)
    test_scores_are_those_of_each_sequence_alone((ARCHITECTURES[0], model))
    test_greedy_answers_are_those_of_each_sequence_alone((ARCHITECTURES[0], model))
