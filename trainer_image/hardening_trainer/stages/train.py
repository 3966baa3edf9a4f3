"""TrainAttacker, TrainDefender: one DPO training over this round's pairs; the trained model lands in `model/`."""

from __future__ import annotations

import shutil
from pathlib import Path

from hardening_api.stages import StageResult, TrainConfig
from hardening_api.status import TrainingFigures
from hardening_trainer.dpo.job import DpoJob, Outcome
from hardening_trainer.dpo.launch import launch, needs_processes
from hardening_trainer.dpo.pairs import count_pairs
from hardening_trainer.errors import DataFault
from hardening_trainer.runtime.stage import StageContext

MODEL = "model"


def run(context: StageContext) -> StageResult:
    """Train `config.train.role` on the pairs of every shard.

    An attacker without pairs passes its weights on unchanged: the variants of no prompt were far enough apart.
    Raises DataFault for a defender without pairs.
    """
    config = context.section(TrainConfig)
    files = [context.inputs.stage(folder) / f"{config.role}-pairs.parquet" for folder in config.pairs]
    initial = context.model(config.initial).path
    outcome = Outcome(figures=TrainingFigures(role=config.role, pairs=0, steps=0, tokens=0))
    if count_pairs(files):
        outcome = _train(context, config, files, initial)
    message = f"{outcome.overlong} pairs longer than training.maxLength were left out. " if outcome.overlong else ""
    if outcome.figures.pairs == 0:
        message = _without_pairs(config, message, initial, context.folder / MODEL)
    return StageResult(
        stage=context.config.stage,
        round=context.config.round,
        shard=context.config.shard,
        outcome="Succeeded",
        message=message.strip() or None,
        tokens=outcome.figures.tokens,
        training=outcome.figures,
    )


class StageReport:
    """Hands a training's events to the stage's progress."""

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def planned(self, steps: int, done: int) -> None:
        """There are `steps` steps, `done` of them by an earlier attempt."""
        self._context.progress.total(steps, done)

    def stepped(self, tokens: int, figures: dict[str, float]) -> None:
        """One step was made."""
        for name, value in figures.items():
            self._context.progress.gauge(name.replace("/", "_"), value)
        self._context.progress.advance(1, tokens)

    def saved(self) -> None:
        """A checkpoint is complete."""
        self._context.keep_partial()


def _train(context: StageContext, config: TrainConfig, files: list[Path], initial: Path) -> Outcome:
    saved, weight = context.folder / MODEL, config.training.interpolation
    reached = saved if weight == 1 else context.scratch / "reached"
    outcome = _reach(context, config, files, initial, reached)
    if reached != saved and context.leader and outcome.figures.pairs:
        from hardening_trainer.models.interpolation import save_interpolated  # noqa: PLC0415  # imports torch

        save_interpolated(initial, reached, weight, saved)
    return outcome


def _reach(context: StageContext, config: TrainConfig, files: list[Path], initial: Path, output: Path) -> Outcome:
    job = DpoJob(
        role=config.role,
        model=str(initial),
        pairs=[str(file) for file in files],
        output=str(output),
        checkpoints=str(context.partial / "checkpoints"),
        training=config.training,
        seed=context.config.seed,
    )
    report = StageReport(context)

    def stop() -> bool:
        return context.stop.requested

    if needs_processes(config.training):
        return launch(job, context.scratch / "training", report, stop, context.environ)
    from hardening_trainer.dpo.training import train  # noqa: PLC0415  # seconds; processes import it themselves

    return train(job, report, stop)


def _without_pairs(config: TrainConfig, message: str, initial: Path, output: Path) -> str:
    if config.role == "defender":
        raise DataFault(
            f"{message}No pairs to train the defender on: expected at least one in {', '.join(config.pairs)}: "
            "lower spec.scoring.epsilon, raise training.maxLength or add preferences",
            reason="NoPairs",
        )
    shutil.copytree(initial, output)
    return (
        f"{message}No pairs to train the attacker on: its weights are passed on unchanged. "
        "A lower spec.scoring.epsilon keeps pairs whose variants differ less."
    )
