"""The settings of TRL's trainer and of DeepSpeed from a Training, and the device it runs on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig
from trl.trainer.dpo_config import DPOConfig

from hardening_api.training import Training
from hardening_trainer.dpo.job import DpoJob
from hardening_trainer.dpo.launch import needs_processes
from hardening_trainer.errors import UsageFault
from hardening_trainer.models.load import native_dtype

_BYTES_PER_VALUE = 2
_VALUES_PER_WIDTH = 20
"""Values that backward needs of each token and layer, in units of the model's width: of attention and of the MLP."""


@dataclass(frozen=True)
class Device:
    """Where a training runs."""

    kind: str
    """`cpu` or `cuda`."""
    bf16: bool
    """Whether it computes in bfloat16, as its hardware must natively; a CPU does in plain PyTorch in one process."""
    memory: int
    """Bytes of one GPU; 0 for a CPU."""


def find_device(training: Training) -> Device:
    """The GPU, if the spec asks for one and there is one, else the CPU."""
    if training.gpus_per_node == 0 or not torch.cuda.is_available():
        native = native_dtype(torch.device("cpu")) is torch.bfloat16
        return Device("cpu", bf16=native and not needs_processes(training), memory=0)
    native = native_dtype(torch.device("cuda")) is torch.bfloat16
    return Device("cuda", native, torch.cuda.get_device_properties(0).total_memory)


def weights_dtype(training: Training, device: Device) -> torch.dtype:
    """bfloat16 where small updates are kept elsewhere (adapters, DeepSpeed's master weights), else float32."""
    kept_elsewhere = training.method == "LoRA" or training.engine == "DeepSpeed"
    return torch.bfloat16 if device.bf16 and kept_elsewhere else torch.float32


def dpo_arguments(job: DpoJob, device: Device, model: PretrainedConfig) -> DPOConfig:
    """The arguments of TRL's trainer. Building it starts the process group where there are several processes."""
    training = job.training
    settings: dict[str, Any] = dict(
        output_dir=job.checkpoints,
        beta=training.beta,
        **_loss(training),
        disable_dropout=training.method == "Full" or training.lora.dropout == 0,
        max_length=None,  # nothing is cut: longer pairs were dropped and counted
        precompute_ref_log_probs=training.method == "Full",  # or a reference model would be loaded
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler,
        warmup_steps=training.warmup_ratio if training.warmup_ratio < 1 else 1 - 1e-9,  # below 1 it is a share
        num_train_epochs=training.epochs,
        per_device_train_batch_size=micro_batch_size(training),
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        max_grad_norm=training.max_grad_norm,
        seed=job.seed,
        data_seed=job.seed,
        bf16=device.bf16,
        use_cpu=device.kind == "cpu",
        ddp_backend="gloo" if device.kind == "cpu" and "WORLD_SIZE" in os.environ else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=device.kind != "cpu",
        activation_checkpointing=needs_gradient_checkpointing(training, device, model),
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would hide what the watch looks for
        save_strategy="no",  # the watch decides
        disable_tqdm=True,
        report_to="none",
    )
    if training.engine == "DeepSpeed":
        settings["deepspeed"] = deepspeed_config(training, device.bf16)
    return DPOConfig(**settings)


def needs_gradient_checkpointing(training: Training, device: Device, model: PretrainedConfig) -> bool:
    """Whether the activations of one micro-batch of the longest pairs would fill over half of a GPU's memory."""
    if device.kind == "cpu":
        return False
    config: Any = model.get_text_config()
    tokens = 2 * micro_batch_size(training) * training.max_length
    per_token = config.num_hidden_layers * config.hidden_size * _VALUES_PER_WIDTH * _BYTES_PER_VALUE
    return bool(tokens * per_token > device.memory // 2)


def _loss(training: Training) -> dict[str, Any]:
    """DPO's sigmoid loss; with `nllWeight`, plus the mean negative log-likelihood of the chosen answers' tokens."""
    if training.nll_weight == 0:
        return {"loss_type": ["sigmoid"]}
    return {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, training.nll_weight]}


def micro_batch_size(training: Training) -> int:
    """Pairs of one forward pass: `batchSize / gradientAccumulationSteps`. Raises UsageFault if that is not whole."""
    size, rest = divmod(training.batch_size, training.gradient_accumulation_steps)
    if rest:
        raise UsageFault(
            f"spec.training.gradientAccumulationSteps: got {training.gradient_accumulation_steps}: "
            f"expected a divisor of batchSize ({training.batch_size}), which it splits into micro-batches"
        )
    return size


def deepspeed_config(training: Training, bf16: bool) -> dict[str, Any]:
    """The JSON DeepSpeed is given. Optimizer and schedule are left to the trainer, so they are the same without it.

    `train_batch_size` is left out: under ZeRO-3 the model is built before the world size is known, and DeepSpeed
    would check the product against a world of one. Raises UsageFault where the user's JSON contradicts the spec.
    """
    _refuse_contradictions(training)
    return merge(_ours(training, bf16), training.deepspeed.config)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; objects merge key by key, anything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _ours(training: Training, bf16: bool) -> dict[str, Any]:
    stage = training.deepspeed.zero_stage
    zero: dict[str, Any] = {"stage": stage}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # or the saved model is empty shards
    return {
        "train_micro_batch_size_per_gpu": micro_batch_size(training),
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "gradient_clipping": training.max_grad_norm,
        "bf16": {"enabled": bf16},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # the optimizer is torch's AdamW, which needs no compiler
    }


def _refuse_contradictions(training: Training) -> None:
    given = training.deepspeed.config
    zero = given.get("zero_optimization")
    zero = zero if isinstance(zero, dict) else {}
    owned: list[tuple[str, dict[str, Any], str, Any, str]] = [
        ("", given, "train_micro_batch_size_per_gpu", micro_batch_size(training), "batchSize"),
        ("", given, "gradient_accumulation_steps", training.gradient_accumulation_steps, "gradientAccumulationSteps"),
        ("", given, "gradient_clipping", training.max_grad_norm, "maxGradNorm"),
        ("zero_optimization.", zero, "stage", training.deepspeed.zero_stage, "deepspeed.zeroStage"),
    ]
    for prefix, level, key, expected, field in owned:
        if level.get(key, expected) not in (expected, "auto"):
            raise UsageFault(
                f"spec.training.deepspeed.config.{prefix}{key}: got {level[key]}: expected {expected}, "
                f"as spec.training.{field} says: change it there"
            )
    for key in ("train_batch_size", "optimizer", "scheduler", "fp16"):
        if key in given:
            raise UsageFault(
                f"spec.training.deepspeed.config.{key}: got a value: expected none: batch sizes, AdamW, its schedule "
                "and the precision come from spec.training"
            )
    if zero.get("stage3_gather_16bit_weights_on_model_save") is False:
        raise UsageFault(
            "spec.training.deepspeed.config.zero_optimization.stage3_gather_16bit_weights_on_model_save: got false: "
            "expected true: without it the model cannot be saved whole"
        )
