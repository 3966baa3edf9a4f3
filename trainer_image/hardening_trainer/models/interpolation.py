"""Weights between two models of one architecture."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig

from hardening_trainer.models.load import load_causal_lm, load_tokenizer


@torch.no_grad()
def save_interpolated(start: Path, end: Path, weight: float, output: Path) -> None:
    """Save start + weight * (end - start) to `output`, a folder for `from_pretrained`, in the dtype of `end`.

    Weights between a model and its own fine-tuning trade what the tuning brought for what it cost, more smoothly than
    a shorter training does (WiSE-FT, arXiv 2109.01903). Raises ModelNotUsable.
    """
    dtype = AutoConfig.from_pretrained(end, trust_remote_code=False).dtype
    model, trained = (load_causal_lm(path, dtype, "cpu") for path in (start, end))
    # parameters(), not the state dict: it has tied weights once
    for value, other in zip(model.parameters(), trained.parameters(), strict=True):
        value.lerp_(other, weight)
    load_tokenizer(end).save_pretrained(output)
    model.save_pretrained(output)
