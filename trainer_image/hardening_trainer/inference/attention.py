"""Attention masks for packed rows and for batches with holes."""

from __future__ import annotations

import torch
from transformers import PretrainedConfig, PreTrainedModel

TAKES_MASKS = ("sdpa", "eager")
"""Attention implementations that take such a mask."""


def attention_kinds(config: PretrainedConfig) -> set[str]:
    """Return the kinds of layers a text model has: `full_attention`, `sliding_attention`, ... in transformers' words.

    Where the config lists none, a window or a chunk size means that every layer has it, as transformers reads it.
    """
    listed = getattr(config, "layer_types", None)
    if listed:
        return set(listed)
    if getattr(config, "sliding_window", None):
        return {"sliding_attention"}
    return {"chunked_attention"} if getattr(config, "attention_chunk_size", None) else {"full_attention"}


def seen_ancestors(ends: torch.Tensor) -> torch.Tensor:
    """[B, N, N], true where the node of the second index is that of the third, or descends from it.

    The nodes of each row stand in preorder; `ends` [B, N] is the first node after each that does not descend from it.
    """
    nodes = torch.arange(ends.shape[1], dtype=torch.int32, device=ends.device)
    return (nodes[None, :, None] < ends.int()[:, None, :]).tril_()


def attention_masks(
    model: PreTrainedModel, seen: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Masks [B, 1, Q, T] in the form `model` takes them: one, or one for each kind of layer.

    Boolean for `sdpa`, additive for `eager`. A query that sees nothing, padding, is given a mask that stays finite.

    `seen` [B, Q, T] says which key each query may attend to, were there no windows; `queries` [B, Q] and `keys` [B, T]
    are positions in the sequence, by which windows and chunks are measured. Raises ValueError for an attention that
    takes no such mask.
    """
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    if implementation not in TAKES_MASKS:
        raise ValueError(f"attn_implementation: got {implementation!r}: expected one of {TAKES_MASKS}")
    masks = {}
    for kind in attention_kinds(config):
        within = _within(kind, config, seen, queries, keys)
        masks[kind] = _boolean(within) if implementation == "sdpa" else _additive(within, model.dtype)
    return masks if len(masks) > 1 else masks.popitem()[1]


def _within(
    kind: str, config: PretrainedConfig, seen: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor
) -> torch.Tensor:
    """Return the part of `seen` that a layer of this kind sees."""
    query, key = queries[:, :, None], keys[:, None, :]
    if kind == "full_attention":
        return seen
    if kind == "sliding_attention":
        window: int = config.sliding_window
        return seen & (query < key + window)
    if kind == "chunked_attention":
        chunk: int = config.attention_chunk_size
        return seen & (query // chunk == key // chunk)
    raise ValueError(f"layer_types: got {kind!r}: expected layers that attend")


def _boolean(seen: torch.Tensor) -> torch.Tensor:
    """As `seen`, but a query that sees nothing sees all: softmax over nothing is no number."""
    # As bytes: torch's maximum runs at the speed of memory, its `any` does not.
    blind = seen.view(torch.uint8).amax(dim=-1, keepdim=True) == 0
    return (seen | blind)[:, None]


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]
