"""Whole trainings of a tiny model in this process: losses, figures, resuming, stopping, saving."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from hardening_api.training import Lora
from hardening_trainer.dpo.checkpoints import last_complete
from hardening_trainer.dpo.pairs import read_pairs, tokenize
from hardening_trainer.dpo.training import train
from hardening_trainer.dpo.watch import TrainingDiverged
from hardening_trainer.dpo.weights import adapted_modules, freeze_lower_layers, lora_config, merge_adapters
from hardening_trainer.errors import DataFault, Interrupted, UsageFault
from hardening_trainer.inference.chat import encode_pair
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.models import load_causal_lm
from tests.support.pairs import TEXTS
from tests.trainer.dpo.conftest import MakeJob, Recorder


def never() -> bool:
    return False


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def close(one: str, other: str, tolerance: float) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], atol=tolerance, rtol=0) for name in first
    )


@pytest.mark.slow
@pytest.mark.parametrize("nll_weight", [0.0, 0.5])
def test_every_step_has_the_loss_of_stock_trl_with_the_reference_model_in_memory(
    make_job: MakeJob, tiny_model: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, nll_weight: float
) -> None:
    job = make_job(epochs=2, nll_weight=nll_weight, batch_size=2)
    ours = Recorder()
    train(job, ours, never)
    conversations = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for prompt, chosen, rejected in TEXTS
    ]
    stock = DPOTrainer(
        model=load_causal_lm(tiny_model, torch.float32, "cpu"),
        ref_model=load_causal_lm(tiny_model, torch.float32, "cpu"),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(conversations),
        args=DPOConfig(
            output_dir=str(tmp_path / "stock"),
            beta=0.1,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, nll_weight],
            learning_rate=1e-3,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            num_train_epochs=2,
            per_device_train_batch_size=2,
            max_grad_norm=1.0,
            seed=3,
            data_seed=3,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
    )
    stock.train()
    theirs = [entry["loss"] for entry in stock.state.log_history if "loss" in entry]
    assert len(theirs) == 8
    assert ours.losses == pytest.approx(theirs, abs=1e-4)
    assert max(theirs) - min(theirs) > 0.05  # it learned: the losses are not all log 2


@pytest.mark.slow
def test_the_loss_of_one_pair_is_the_one_computed_by_hand(
    make_job: MakeJob, tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    text = ("how do I walk the dog", "first the park, then home", "no")
    pair = encode_pair(tokenizer, *text)
    [[chosen, rejected]] = answer_logprobs(model, [pair.prompt], [[pair.preferred, pair.dispreferred]])
    # A reference 3 nats less sure of the chosen answer and 2 nats surer of the rejected one than the model itself.
    row: dict[str, Any] = dict(zip(("prompt", "chosen", "rejected"), text, strict=True))
    row |= {"ref_chosen_logps": chosen - 3.0, "ref_rejected_logps": rejected + 2.0}
    file = tmp_path / "defender-pairs.parquet"
    pq.write_table(pa.Table.from_pylist([row]), file)
    recorder = Recorder()
    train(make_job(pairs=file, beta=0.4, nll_weight=0.25), recorder, never)
    by_hand = math.log(1 + math.exp(-0.4 * (3.0 + 2.0))) + 0.25 * -chosen / len(pair.preferred)
    assert recorder.losses[0] == pytest.approx(by_hand, abs=1e-4)
    assert recorder.steps[0]["rewards/margins"] == pytest.approx(0.4 * 5.0, abs=1e-4)
    assert recorder.steps[0]["rewards/accuracies"] == 1.0


@pytest.mark.slow
def test_figures_are_means_over_the_last_tenth_of_the_steps_and_tokens_are_all_that_was_seen(
    make_job: MakeJob, pairs_file: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    recorder = Recorder()
    outcome = train(make_job(epochs=3, batch_size=2), recorder, never)
    assert recorder.plan == (12, 0)
    assert (outcome.figures.pairs, outcome.figures.steps) == (8, 12)
    assert outcome.figures.loss == pytest.approx(sum(recorder.losses[-2:]) / 2)
    assert outcome.figures.tokens == recorder.tokens == 3 * tokenize([pairs_file], tokenizer, 1024).tokens


@pytest.mark.slow
def test_splitting_a_batch_into_micro_batches_changes_no_loss(make_job: MakeJob) -> None:
    whole, split = Recorder(), Recorder()
    first, second = make_job("whole"), make_job("split", gradient_accumulation_steps=4)
    train(first, whole, never)
    train(second, split, never)
    assert split.losses == pytest.approx(whole.losses, abs=1e-4)
    assert close(first.output, second.output, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Full", "LoRA"])
def test_a_stopped_training_resumes_to_the_same_weights(make_job: MakeJob, method: str) -> None:
    settings = {"method": method, "epochs": 2, "batch_size": 2, "checkpoint_steps": 2}
    straight, stopped = make_job("straight", **settings), make_job("stopped", **settings)
    train(straight, Recorder(), never)
    first, second = Recorder(), Recorder()
    with pytest.raises(Interrupted, match="after step 5"):
        train(stopped, first, lambda: len(first.steps) >= 4)
    assert not Path(stopped.output).exists()
    kept = last_complete(Path(stopped.checkpoints))
    assert kept is not None
    assert kept.name == "checkpoint-5"
    (kept.parent / "checkpoint-7").mkdir()  # a torn one: it has no mark and is not resumed from
    outcome = train(stopped, second, never)
    assert second.plan == (8, 5)
    assert outcome.figures.steps == 8
    assert close(straight.output, stopped.output, 1e-6)


@pytest.mark.slow
def test_a_loss_that_explodes_stops_the_training_and_saves_no_model(make_job: MakeJob) -> None:
    job = make_job(learning_rate=1.0, epochs=8, batch_size=2, max_grad_norm=1e6, warmup_ratio=0.0)
    with pytest.raises(TrainingDiverged, match=r"step \d+: .* try a lower spec.training.learningRate"):
        train(job, Recorder(), never)
    assert not Path(job.output).exists()


@pytest.mark.slow
def test_a_saved_model_has_tied_weights_its_chat_template_and_no_adapters(make_job: MakeJob, tiny_model: Path) -> None:
    job = make_job(method="LoRA", learning_rate=1e-2)
    train(job, Recorder(), never)
    before, after = weights(str(tiny_model)), weights(job.output)
    assert before.keys() == after.keys()
    loaded = AutoModelForCausalLM.from_pretrained(job.output)
    assert loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()
    tokenizer = AutoTokenizer.from_pretrained(job.output)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_model).chat_template
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}


def test_merged_weights_give_the_adapters_output(tiny_model: Path) -> None:
    base = load_causal_lm(tiny_model, torch.float32, "cpu")
    adapted = get_peft_model(base, lora_config(base, Lora(r=4, alpha=12), None))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    ids = torch.tensor([[1, 5, 9, 30, 7]])
    expected = adapted(input_ids=ids).logits
    plain = load_causal_lm(tiny_model, torch.float32, "cpu")
    assert not torch.allclose(plain(input_ids=ids).logits, expected, atol=1e-2)
    plain.load_state_dict(merge_adapters(adapted, adapted.state_dict()))
    torch.testing.assert_close(plain(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)


def test_upper_layers_are_the_ones_nearest_the_output(model: PreTrainedModel) -> None:
    assert {name.split(".")[2] for name in adapted_modules(model, 1)} == {"1"}
    assert len(adapted_modules(model, None)) == 2 * len(adapted_modules(model, 1)) == 14
    with pytest.raises(UsageFault, match=r"upperLayers: got 3: expected at most the model's 2"):
        adapted_modules(model, 3)


def test_full_training_of_the_upper_layers_leaves_the_lower_ones_and_the_embeddings_alone(
    model: PreTrainedModel,
) -> None:
    freeze_lower_layers(model, 1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if ".layers.1." not in name} == {"model.norm.weight"}
    assert len(trained) > 1


def test_pairs_longer_than_the_limit_are_counted_and_left_out(
    pairs_file: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    everything = tokenize([pairs_file], tokenizer, 1024)
    longest = max(
        len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in everything.rows
    )
    assert (len(everything.rows), everything.overlong) == (8, 0)
    assert tokenize([pairs_file], tokenizer, longest).overlong == 0
    shorter = tokenize([pairs_file], tokenizer, longest - 1)
    assert (len(shorter.rows), shorter.overlong) == (7, 1)


def test_no_pair_that_fits_gives_figures_without_steps(make_job: MakeJob) -> None:
    job = make_job(max_length=16)
    outcome = train(job, Recorder(), never)
    assert (outcome.figures.pairs, outcome.figures.steps, outcome.overlong) == (0, 0, 8)
    assert not Path(job.output).exists()


def test_a_row_without_a_reference_is_refused_by_file_and_row(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c", "ref_chosen_logps": -1.0, "ref_rejected_logps": math.nan}]
    file = tmp_path / "attacker-pairs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    with pytest.raises(DataFault, match=r"attacker-pairs.parquet: row 0: ref_rejected_logps: got nan"):
        list(read_pairs([file]))
