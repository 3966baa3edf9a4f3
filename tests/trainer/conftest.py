"""A loaded tiny model and tokenizer, shared by the trainer's tests: do not change them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.models import load_causal_lm, load_tokenizer


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> PreTrainedModel:
    return load_causal_lm(tiny_model, torch.float32)  # what it computes is held against float32


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_model)
