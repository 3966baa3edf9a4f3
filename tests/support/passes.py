"""What a model is given and gives, pass by pass: the cost of an algorithm, counted instead of timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel


@contextmanager
def tokens_read(model: PreTrainedModel) -> Iterator[list[int]]:
    """The number of tokens of each forward pass made in the block."""
    found: list[int] = []

    def note(_module: Any, _given: Any, options: dict[str, Any], _output: Any) -> None:
        found.append(options["input_ids"].numel())

    hook = model.register_forward_hook(note, with_kwargs=True)
    yield found
    hook.remove()


@contextmanager
def logits_made(model: PreTrainedModel) -> Iterator[list[int]]:
    """The number of positions with logits of each forward pass made in the block."""
    found: list[int] = []

    def note(_module: Any, _given: Any, output: Any) -> None:
        found.append(output.logits.shape[:-1].numel())

    hook = model.register_forward_hook(note)
    yield found
    hook.remove()
