"""Whether sequences may share what a model computes for their common beginning.

A row built here holds several sequences as one trie, or a batch whose prompts differ in length, and an
attention mask keeps them apart. That holds where layers only attend, through the mask they are given and at the
positions they are given. Layers that convolve, recur, or build masks of their own would mix sequences silently. So
sharing is for models that are known to allow it, and that were seen to give the same numbers either way; any other
reads each sequence by itself.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

from transformers import DynamicCache, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from hardening_trainer.inference.attention import TAKES_MASKS, attention_kinds

log = logging.getLogger(__name__)

_MASK_MAKERS = {
    "full_attention": "create_causal_mask",
    "sliding_attention": "create_sliding_window_causal_mask",
    "chunked_attention": "create_chunked_causal_mask",
}
"""transformers' functions that let a mask of ours through, by the kind of layer they make one for."""
_CACHED_BY = (DynamicLayer, DynamicSlidingWindowLayer)
_mixing: WeakSet[PreTrainedModel] = WeakSet()
"""Models that gave other numbers for sequences that shared a row."""
_misremembering: WeakSet[PreTrainedModel] = WeakSet()
"""Models that gave other numbers with their own cache than without."""


def shares_beginnings(model: PreTrainedModel) -> bool:
    """Whether sequences of `model` may share a row; if not, each is to be read by itself."""
    return model not in _mixing and next(_reasons_against(model), None) is None


def never_share(model: PreTrainedModel, reason: str) -> None:
    """From now on every sequence of `model` is read by itself."""
    log.info("%s: sequences are read apart: %s", type(model).__name__, reason)
    _mixing.add(model)


def never_cache(model: PreTrainedModel, reason: str) -> None:
    """From now on `model` reads a sequence from its start for every token it adds."""
    log.warning("%s: sampled without its cache, which is slow: %s", type(model).__name__, reason)
    _misremembering.add(model)


def may_cache(model: PreTrainedModel) -> bool:
    """Whether the model's own cache gives the numbers that reading the whole sequence gives."""
    return model not in _misremembering


def _reasons_against(model: PreTrainedModel) -> Iterator[str]:
    """Return what keeps the model's sequences from sharing a row, by its architecture."""
    config = model.config.get_text_config()
    kinds = attention_kinds(config)
    parts = _forwarding(model)
    if config._attn_implementation not in TAKES_MASKS:
        yield f"attention {config._attn_implementation} takes no mask"
    if getattr(model, "_is_stateful", False) or not kinds <= set(_MASK_MAKERS):
        yield "not all of its layers attend"
    elif not all(hasattr(sys.modules[type(parts[-1]).__module__], _MASK_MAKERS[kind]) for kind in kinds):
        yield "it makes masks of its own"
    if any("position_ids" not in inspect.signature(part.forward).parameters for part in (model, *parts)):
        yield "it takes no positions"
    if len(kinds) > 1 and not all(_takes_several_masks(part) for part in parts):
        yield "it takes one mask for layers of several kinds"
    layers: set[Any] = {type(module) for module in parts[-1].modules()} - {type(parts[-1])}
    if any(_counts_positions(kind) for kind in layers):
        yield "a layer counts positions by itself"
    if _has_other_window(config):
        yield "it has a window of its own"
    if not _caches_plainly(config):
        yield "its cache holds more than keys and values"


def _forwarding(model: PreTrainedModel) -> tuple[PreTrainedModel, ...]:
    """The modules inside `model` that a mask passes through, the text decoder last."""
    base: Any = model.base_model
    decoder: Any = model.get_decoder()  # type: ignore[no-untyped-call]  # transformers leaves it so
    return (base,) if decoder is base else (base, decoder)


def _takes_several_masks(part: PreTrainedModel) -> bool:
    """Whether the module lets a dict of masks, one for each kind of layer, through."""
    source = inspect.getsource(type(part).forward)
    return "attention_mask, dict)" in source or "create_" not in source


@functools.cache
def _counts_positions(kind: Any) -> bool:
    """Whether a kind of attention numbers the tokens of a row instead of using the positions it is given."""
    return "Attention" in kind.__name__ and "torch.arange" in inspect.getsource(kind.forward)


def _has_other_window(config: PretrainedConfig) -> bool:
    """Whether attention is cut by another number than those that our masks go by."""
    values: dict[str, Any] = config.to_dict()
    cuts = {name for name in values if "window" in name and "sliding_window" not in name} | {"local_attention"}
    return any(isinstance(values.get(name), int) and values[name] > 0 for name in cuts - {"max_window_layers"})


def _caches_plainly(config: PretrainedConfig) -> bool:
    try:
        layers = DynamicCache(config=config).layers
    except (KeyError, AttributeError, TypeError, ValueError):
        return False
    return all(type(layer) in _CACHED_BY for layer in layers)
