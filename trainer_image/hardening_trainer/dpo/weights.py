"""The trained weights: which layers are adapted, and one folder that plain `from_pretrained` loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hardening_api.training import Lora
from hardening_trainer.dpo.trainer import CachedReferenceTrainer
from hardening_trainer.errors import UsageFault
from hardening_trainer.models import load_tokenizer

_LAYER = re.compile(r"\.(\d+)\.")
_ADAPTER = "default"
_PREFIX = "base_model.model."


def lora_config(model: PreTrainedModel, lora: Lora, upper_layers: int | None) -> LoraConfig:
    """PEFT's configuration: every linear map of the adapted layers; below them backward has nothing to do."""
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=adapted_modules(model, upper_layers),
        task_type="CAUSAL_LM",
    )


def adapted_modules(model: PreTrainedModel, upper_layers: int | None) -> list[str]:
    """Names of the linear maps in the `upper_layers` layers nearest the output (None: all layers).

    Raises UsageFault if the model has fewer layers.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    layer_of = {name: int(match[1]) for name in linear if (match := _LAYER.search(name))}
    first = _first_trained(max(layer_of.values()) + 1, upper_layers)
    return [name for name, layer in layer_of.items() if layer >= first]


def freeze_lower_layers(model: PreTrainedModel, upper_layers: int | None) -> None:
    """Leave only the `upper_layers` layers nearest the output, and what follows them but the head, to train.

    None trains everything. Raises UsageFault if the model has fewer layers.
    """
    if upper_layers is None:
        return
    layer_of = {name: int(match[1]) for name, _ in model.named_parameters() if (match := _LAYER.search(name))}
    first = _first_trained(max(layer_of.values()) + 1, upper_layers)
    ends: tuple[Any, ...] = (model.get_input_embeddings(), model.get_output_embeddings())  # type: ignore[no-untyped-call]
    outer = {id(end.weight) for end in ends}
    for name, parameter in model.named_parameters():
        parameter.requires_grad = layer_of.get(name, first) >= first and id(parameter) not in outer


def _first_trained(count: int, upper_layers: int | None) -> int:
    if upper_layers is not None and upper_layers > count:
        raise UsageFault(f"spec.training.upperLayers: got {upper_layers}: expected at most the model's {count}")
    return count - (upper_layers or count)


def save_trained(trainer: CachedReferenceTrainer, initial: Path, output: Path) -> None:
    """Save the whole model (adapters merged, ZeRO shards gathered), with the tokenizer of `initial`, to `output`.

    Every process calls this; the first one writes. The trainer's weights are changed: it must not train on.
    """
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_deepspeed_enabled:
        model = trainer.accelerator.unwrap_model(trainer.deepspeed)
    if hasattr(model, "peft_config"):
        state = merge_adapters(model, state)
        model = model.get_base_model()
    for tied in getattr(model, "all_tied_weights_keys", {}):
        state.pop(tied, None)  # loading ties it again
    model.save_pretrained(output, state_dict={name: value.contiguous() for name, value in state.items()})
    load_tokenizer(initial).save_pretrained(output)


@torch.no_grad()
def merge_adapters(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the plain model: W + alpha / r * B A in every adapted layer. Changes the tensors of `state`.

    `state` is the whole state dict of the PEFT model `model`; the model's own tensors may be sharded away.
    """
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        up, down = state[f"{name}.lora_B.{_ADAPTER}.weight"], state[f"{name}.lora_A.{_ADAPTER}.weight"]
        change = module.scaling[_ADAPTER] * (up.float() @ down.float())
        weight = state[f"{name}.base_layer.weight"]
        weight.copy_(weight.float() + (change.T if getattr(module, "fan_in_fan_out", False) else change))
    return {
        name.removeprefix(_PREFIX).replace(".base_layer.", "."): value
        for name, value in state.items()
        if ".lora_" not in name
    }
