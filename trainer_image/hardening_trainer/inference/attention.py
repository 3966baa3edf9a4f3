"""Attention masks of our own making, for packed rows and for batches with holes."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

_TAKES_MASKS = ("sdpa", "eager")


def attention_masks(
    model: PreTrainedModel, seen: torch.Tensor, distances: torch.Tensor
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive masks [B, 1, Q, T] in the form `model` takes them.

    `seen` [B, Q, T] says which key each query may attend to; `distances` [B, Q, T] how many positions back it
    lies, for models with a sliding window. Raises ValueError for an attention that takes no such mask.
    """
    implementation = model.config._attn_implementation
    if implementation not in _TAKES_MASKS:
        raise ValueError(f"attn_implementation: got {implementation!r}: expected one of {_TAKES_MASKS}")
    full = _additive(seen, model.dtype)
    window = getattr(model.config, "sliding_window", None)
    if not window:
        return full
    sliding = _additive(seen & (distances < window), model.dtype)
    if getattr(model.config, "layer_types", None):  # the model mixes both kinds of layer
        return {"full_attention": full, "sliding_attention": sliding}
    return sliding


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]
