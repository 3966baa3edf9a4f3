"""Watches every step of a training: reports it, saves, stops when asked to, and stops a training that diverges."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hardening_trainer.dpo.checkpoints import mark_complete
from hardening_trainer.dpo.job import Report, StopRequested
from hardening_trainer.errors import DataFault

EXPLODED = 10.0
"""A loss this many times the first step's (and at least DPO's own start, log 2) has exploded ..."""
EXPLODED_STEPS = 5
"""... when the mean over this many steps is."""
_SHOWN = ("loss", "grad_norm", "learning_rate", "rewards/margins", "rewards/accuracies")


class TrainingDiverged(DataFault):
    """The loss became NaN, infinite, or many times what it was. Trying again would end the same way."""

    default_reason = "TrainingDiverged"


class TrainingWatch(TrainerCallback):
    """`stopped` says afterwards whether the training was interrupted (all processes agree on it)."""

    def __init__(self, report: Report, stop: StopRequested, checkpoint_steps: int) -> None:
        self._report, self._stop, self._every = report, stop, checkpoint_steps
        self._tokens = 0.0
        self.stopped = False

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the three are how a trainer calls back
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Report how many steps there are."""
        self._report.planned(state.max_steps, state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Save on schedule and before stopping; not at the end, where the model itself is saved."""
        if state.global_step >= state.max_steps:
            return control
        self.stopped = any_process(self._stop(), args.device)
        control.should_save = self.stopped or state.global_step % self._every == 0
        control.should_training_stop = self.stopped
        return control

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """Check and report one step."""
        logs: dict[str, float] = given["logs"]
        if "loss" not in logs:
            return
        check_step(state.global_step, state.log_history)
        tokens = logs.get("num_tokens", 0.0)
        self._report.stepped(int(tokens - self._tokens), {name: logs[name] for name in _SHOWN if name in logs})
        self._tokens = tokens

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Mark the checkpoint complete once every process has written its part."""
        if dist.is_initialized():
            dist.barrier()
        if state.is_world_process_zero:
            mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
            self._report.saved()


def check_step(step: int, history: list[dict[str, float]]) -> None:
    """Raise TrainingDiverged if the last entry of the trainer's log is not finite or the loss has exploded."""
    entries = [entry for entry in history if "loss" in entry]
    for name in ("loss", "grad_norm"):
        value = float(entries[-1].get(name, 0.0))
        if not math.isfinite(value):
            raise TrainingDiverged(f"training: step {step}: {name} is {value}: {_ADVICE}")
    if len(entries) <= EXPLODED_STEPS:
        return
    first = max(float(entries[0]["loss"]), math.log(2))
    recent = statistics.fmean(float(entry["loss"]) for entry in entries[-EXPLODED_STEPS:])
    if recent > EXPLODED * first:
        raise TrainingDiverged(
            f"training: step {step}: the mean loss of {EXPLODED_STEPS} steps is {recent:.4g}, "
            f"{recent / first:.0f} times what it was at first: {_ADVICE}"
        )


_ADVICE = "try a lower spec.training.learningRate, a higher warmupRatio or a lower maxGradNorm"


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true in any process of the training."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor([int(flag)], device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())
