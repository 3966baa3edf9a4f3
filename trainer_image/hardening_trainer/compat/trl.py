"""TRL's trainer asks the model for log-probabilities: `model(..., fused_lm_head=True)`. Here another forward answers.

Seen with trl 1.16.0: `add_fused_lm_head` replaces `model.forward`. Its forward reads the prompt once for each answer
and pads all sequences to the longest (packing for DPO: https://github.com/huggingface/trl/issues/2469, shared prompts:
https://github.com/huggingface/trl/issues/3549, both open). It rebuilds the head from the names in a model's config
that scale or cap logits, and gives other numbers for a model that does so under another name.
To remove: the first when DPOTrainer packs pairs itself, the second when TRL takes a model's own logits where it must.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

FusedForward = Callable[[PreTrainedModel, torch.Tensor, torch.Tensor, torch.Tensor], FusedCausalLMOutput]
"""(model, input_ids [S, T], attention_mask [S, T], labels [S, T]) -> log-probabilities and more, each [S, T - 1]."""


def answer_fused_with(model: PreTrainedModel, padded: Callable[..., Any], fused: FusedForward) -> None:
    """Let `fused` compute what is asked for with `fused_lm_head=True`, and `padded`, the model's forward, the rest."""

    @functools.wraps(padded)
    def forward(self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return padded(*args, fused_lm_head=False, **kwargs)
        return fused(self, kwargs["input_ids"], kwargs["attention_mask"], kwargs["labels"])

    model.forward = types.MethodType(forward, model)


def own_logits_forward(
    padded: Callable[..., Any],
    model: PreTrainedModel,  # noqa: ARG001  # `padded` is bound to it
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
) -> FusedCausalLMOutput:
    """Return what TRL's head does, from the logits that the model itself computes."""
    logits = padded(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1]
    at = labels[:, 1:] != -100
    targets = labels[:, 1:][at]
    of_answers = logits[at].float()
    logps = of_answers.log_softmax(dim=-1)
    taken = logps.gather(-1, targets[:, None])[:, 0]

    def back(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(at.shape).masked_scatter(at, values)

    return FusedCausalLMOutput(
        loss=-taken.mean(),
        log_probs=back(taken),
        entropy=back(-(logps.exp() * logps).sum(dim=-1).detach()),
        mean_logits=back(of_answers.mean(dim=-1).detach()),
        is_top1=back((of_answers.argmax(dim=-1) == targets).float()),
        label_mask=at,
    )
