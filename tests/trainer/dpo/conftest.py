"""A job on the tiny model, and a report that remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_api.training import Training
from hardening_trainer.dpo import arguments
from hardening_trainer.dpo.job import DpoJob
from tests.support.pairs import TEXTS, write_pairs

MakeJob = Callable[..., DpoJob]


@dataclass
class Recorder:
    """A Report that keeps what it hears."""

    plan: tuple[int, int] | None = None
    steps: list[dict[str, float]] = field(default_factory=list)
    tokens: int = 0
    saves: int = 0

    def planned(self, steps: int, done: int) -> None:
        self.plan = (steps, done)

    def stepped(self, tokens: int, figures: dict[str, float]) -> None:
        self.tokens += tokens
        self.steps.append(figures)

    def saved(self) -> None:
        self.saves += 1

    @property
    def losses(self) -> list[float]:
        return [step["loss"] for step in self.steps]


@pytest.fixture(autouse=True)
def float32_on_any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and weights are held against each other more closely than bfloat16 can hold them."""
    monkeypatch.setattr(arguments, "native_dtype", lambda device: torch.float32)


@pytest.fixture(scope="session")
def pairs_file(
    tmp_path_factory: pytest.TempPathFactory, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "defender-pairs.parquet", model, tokenizer, TEXTS)


@pytest.fixture
def make_job(tmp_path: Path, tiny_model: Path, pairs_file: Path) -> MakeJob:
    """A job in folders of its own, called `name`; other arguments are fields of Training."""

    def make(name: str = "job", pairs: Path = pairs_file, **settings: Any) -> DpoJob:
        defaults = {"engine": "Torch", "method": "Full", "gpus_per_node": 0, "batch_size": 4, "learning_rate": 1e-3}
        return DpoJob(
            role="defender",
            model=str(tiny_model),
            pairs=[str(pairs)],
            output=str(tmp_path / name / "model"),
            checkpoints=str(tmp_path / name / "checkpoints"),
            training=Training(**{**defaults, **settings}),
            seed=3,
        )

    return make
