"""A key-value cache with room to grow, so that a new token is written in place, not by copying the past."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_ROOM = 64
"""Tokens of spare room made at a time."""


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    """Keys and values [B, heads, T, head_dim] of one layer, as views of buffers with spare room behind T."""

    is_croppable = False
    _key_buffer: torch.Tensor | None = None
    _value_buffer: torch.Tensor | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,  # noqa: ARG002  # the base class's signature
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new states and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if self._key_buffer is None or self._value_buffer is None or self._key_buffer.shape[-2] < total:
            self._key_buffer = _with_room(self.keys, key_states, length, total)
            self._value_buffer = _with_room(self.values, value_states, length, total)
        self._key_buffer[:, :, length:total] = key_states
        self._value_buffer[:, :, length:total] = value_states
        self.keys, self.values = self._key_buffer[:, :, :total], self._value_buffer[:, :, :total]
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times."""
        super().batch_repeat_interleave(repeats)
        self._key_buffer = self._value_buffer = None

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows only."""
        super().batch_select_indices(indices)
        self._key_buffer = self._value_buffer = None


def growing_cache() -> Cache:
    """An empty cache for a model whose layers all attend (sliding windows are the mask's work)."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def _with_room(past: torch.Tensor | None, new: torch.Tensor, length: int, total: int) -> torch.Tensor:
    batch, heads, _, size = new.shape
    buffer = new.new_empty(batch, heads, total + _ROOM, size)
    if length and past is not None:
        buffer[:, :, :length] = past
    return buffer
