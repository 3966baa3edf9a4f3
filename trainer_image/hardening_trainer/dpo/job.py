"""A DPO training's inputs, progress and outputs: plain data, so that processes agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hardening_api.base import Contract
from hardening_api.status import TrainingFigures
from hardening_api.training import Role, Training

StopRequested = Callable[[], bool]
"""Asked after every step: whether to save and stop."""


class DpoJob(Contract):
    """One DPO training; every path is local."""

    role: Role
    """Who is trained."""
    model: str
    """Folder of the weights to start from."""
    pairs: list[str]
    """Parquet files with the columns `prompt, chosen, rejected, ref_chosen_logps, ref_rejected_logps`."""
    output: str
    """Folder the trained model is saved to."""
    checkpoints: str
    """Folder of the checkpoints to resume from; kept between interrupted attempts."""
    training: Training
    """Settings, the role's overrides applied."""
    seed: int
    """Seed of shuffling and of the adapters' first values."""


class Outcome(Contract):
    """What a training that ran to its end left."""

    figures: TrainingFigures
    """Counts, and means over the last tenth of the steps. With 0 pairs nothing was trained and no model saved."""
    overlong: int = 0
    """Pairs dropped because prompt and answer are longer than `training.maxLength`."""


class Failure(Contract):
    """Why a training process ended without an outcome."""

    exit_code: int
    """Of sysexits."""
    reason: str
    """CamelCase."""
    message: str
    """For its reader; never text of a pair."""


class Report(Protocol):
    """Hears how a training goes."""

    def planned(self, steps: int, done: int) -> None:
        """There are `steps` optimizer steps, `done` of them by an earlier attempt."""

    def stepped(self, tokens: int, figures: dict[str, float]) -> None:
        """One step was made, over `tokens` tokens; `figures` are loss, rewards/margins, rewards/accuracies, ..."""

    def saved(self) -> None:
        """A checkpoint is complete."""
