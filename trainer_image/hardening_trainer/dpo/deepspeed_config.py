"""DeepSpeed's JSON from a Training: ours, with the user's merged over it."""

from __future__ import annotations

from typing import Any

from hardening_api.training import Training
from hardening_trainer.errors import UsageFault


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
