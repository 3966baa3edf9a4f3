"""Optimizer steps of DPO for `benchmarks/gpu.py`: the project's trainer, or stock TRL with the same arguments."""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from contextlib import nullcontext
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerFast, TrainerCallback
from trl.trainer.dpo_trainer import DPOTrainer

from benchmarks.one_gpu.bench import Bench, Pair, Skipped, one_process_group, peak_memory, total
from hardening_api.training import DeepSpeed, Training
from hardening_trainer.dpo.arguments import dpo_arguments, find_device, weights_dtype
from hardening_trainer.dpo.job import DpoJob
from hardening_trainer.dpo.pairs import TokenPairs
from hardening_trainer.dpo.trainer import CachedReferenceTrainer
from hardening_trainer.dpo.weights import lora_config
from hardening_trainer.inference.logprobs import answer_logprobs

OFFLOAD = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}


class StockTrainer(DPOTrainer):
    """TRL's trainer on token ids; nothing but its tokenisation and its telemetry is left out."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _send_telemetry(self) -> None:
        pass


class StepTimes(TrainerCallback):
    """When each step ended, on the device too."""

    def __init__(self, wait: Any) -> None:
        self.wait = wait
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.wait()
        self.ends.append(time.perf_counter())


def steps(bench: Bench, method: str, stock: bool) -> dict[str, Any]:
    """Train a few steps, and say how long one took, what it held, and what it lost."""
    training = _training(bench, method)
    if training.engine == "DeepSpeed" and bench.size.device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    with one_process_group() if training.engine == "DeepSpeed" else nullcontext():
        return _steps(bench, training, stock)


def _training(bench: Bench, method: str) -> Training:
    """The settings: the defaults but for sizes; with all weights, the optimizer is the host's."""
    engine = "Torch"
    if method == "Full":
        installed = importlib.util.find_spec("deepspeed") is not None and bench.size.device == "cuda"
        engine = bench.engine or ("DeepSpeed" if installed else "Torch")
    return Training(
        engine="DeepSpeed" if engine == "DeepSpeed" else "Torch",
        method="Full" if method == "Full" else "LoRA",
        gpus_per_node=1 if bench.size.device == "cuda" else 0,
        batch_size=bench.size.step_pairs,
        max_length=sum(span[1] for span in (bench.size.prompt, bench.size.answer)),
        deepspeed=DeepSpeed(config=OFFLOAD),
    )


def _steps(bench: Bench, training: Training, stock: bool) -> dict[str, Any]:
    number = bench.size.full_steps if training.method == "Full" else bench.size.steps
    pairs = bench.pairs(number * training.batch_size)
    device = find_device(training)
    times = StepTimes(bench.wait)
    with tempfile.TemporaryDirectory() as folder:
        job = DpoJob(
            role="defender", model=folder, pairs=[], output=folder, checkpoints=folder, training=training, seed=0
        )
        settings = dpo_arguments(job, device, bench.config)
        dtype = weights_dtype(training, device)
        _refuse_what_cannot_fit(bench, training, dtype)
        trainer: DPOTrainer
        if stock:
            trainer, reference_seconds = _stock(bench, training, dtype, settings, pairs, times), None
        else:
            trainer, reference_seconds = _ours(bench.model(dtype), training, settings, pairs, times)
        with peak_memory(bench.size.device) as highest:
            trainer.train()
            peak_bytes = highest()
    seconds = [after - before for before, after in zip(times.ends, times.ends[1:], strict=False)]
    median = statistics.median(seconds)
    # Shuffled, so a step's pairs differ from another's: the mean of all steps' work is held against the median time.
    operations = bench.shape.step(total(pairs), _adapters(trainer.model, training)) / number
    return {
        "engine": "DeepSpeed, ZeRO-2, optimizer in the host's memory" if training.engine == "DeepSpeed" else "Torch",
        "layers": bench.shape.layers,
        "weights": str(dtype),
        "activations_computed_twice": bool(settings.activation_checkpointing),
        "optimizer": str(settings.optim),
        "seconds_per_step": median,
        "seconds_of_steps": seconds,
        "unique_tokens_per_step": total(pairs).tokens / number,
        "operations_per_step": operations,
        **bench.mfu(operations, median),
        "peak_bytes": peak_bytes,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "chosen_nats_of_steps": [entry["logps/chosen"] for entry in trainer.state.log_history if "loss" in entry],
        "reference_seconds_per_pair": reference_seconds,
    }


def _ours(
    model: PreTrainedModel, training: Training, settings: Any, pairs: list[Pair], times: StepTimes
) -> tuple[CachedReferenceTrainer, float]:
    """The project's trainer, on log-probabilities that its scorer computed before; and seconds a pair that took."""
    started = time.perf_counter()
    answers = [[pair.chosen, pair.rejected] for pair in pairs]
    references = answer_logprobs(model, [pair.prompt for pair in pairs], answers)
    seconds = (time.perf_counter() - started) / len(pairs)
    rows = [
        _tokens(pair) | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        for pair, (chosen, rejected) in zip(pairs, references, strict=True)
    ]
    adapter = lora_config(model, training.lora, None) if training.method == "LoRA" else None
    return CachedReferenceTrainer(model, settings, TokenPairs(rows, 0), _tokenizer(), adapter, [times]), seconds


def _stock(
    bench: Bench, training: Training, dtype: torch.dtype, settings: Any, pairs: list[Pair], times: StepTimes
) -> StockTrainer:
    """TRL's trainer: of all weights, with a second model in memory; of adapters, with them switched off."""
    settings.precompute_ref_log_probs = False
    lora, model = training.method == "LoRA", bench.model(dtype)
    return StockTrainer(
        model=model,
        ref_model=None if lora else bench.model(dtype),
        args=settings,
        train_dataset=Dataset.from_list([_tokens(pair) for pair in pairs]),
        processing_class=_tokenizer(),
        peft_config=lora_config(model, training.lora, None) if lora else None,
        callbacks=[times],
    )


def _tokens(pair: Pair) -> dict[str, Any]:
    return {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected}


def _tokenizer() -> PreTrainedTokenizerFast:
    """One that the trainers ask for a pad token, and nothing else: the pairs are tokens already."""
    words = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1}, unk_token="<unk>"))  # noqa: S106  # no password
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")  # noqa: S106


def _adapters(model: Any, training: Training) -> int | None:
    """Weights of the adapters, which train alone; None where all do."""
    if training.method == "Full":
        return None
    return sum(int(weight.numel()) for weight in model.parameters() if weight.requires_grad)


def _refuse_what_cannot_fit(bench: Bench, training: Training, dtype: torch.dtype) -> None:
    """Weights, gradients and both moments in the weights' precision, and a bfloat16 copy, of all weights on the GPU."""
    if training.method == "LoRA" or training.engine == "DeepSpeed" or bench.size.device == "cpu":
        return
    weights = bench.shape.weights + 2 * bench.shape.hidden * bench.shape.vocabulary
    needed = weights * (4 * dtype.itemsize + 2)
    free = torch.cuda.mem_get_info()[0]
    if needed > free:
        raise Skipped(
            f"full training in plain PyTorch needs {needed / 2**30:.0f} GiB before any activation, and "
            f"{free / 2**30:.0f} GiB are free: DeepSpeed, if installed, keeps the optimizer in the host's memory"
        )
