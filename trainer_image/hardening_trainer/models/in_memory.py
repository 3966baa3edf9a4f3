"""One model in memory at a time, since one may need all of it."""

from __future__ import annotations

import gc
from types import TracebackType

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.models.load import load_causal_lm, load_tokenizer
from hardening_trainer.models.resolve import ResolvedModel


class ModelInMemory:
    """Loads models, each in place of the one before; equal digests are one model. At the block's end none is left.

    Callers let go of a model before they ask for the next.
    """

    def __init__(self) -> None:
        self._digest: str | None = None
        self._loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None

    def load(self, resolved: ResolvedModel) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return a model and its tokenizer. Raises ModelNotUsable."""
        if self._loaded is None or self._digest != resolved.digest:
            self.release()
            self._loaded = load_causal_lm(resolved.path), load_tokenizer(resolved.path)
            self._digest = resolved.digest
        return self._loaded

    def release(self) -> None:
        """Give back what the model has used."""
        self._digest = self._loaded = None
        free_memory()

    def __enter__(self) -> ModelInMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def free_memory() -> None:
    """Give back what a model that nobody refers to any more has used."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
