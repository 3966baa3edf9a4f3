"""One DPO training, from its job to the saved model, in this process or as one of several ranks."""

from __future__ import annotations

import logging
import math
import statistics
import time
from pathlib import Path

from torch import distributed
from transformers import AutoConfig

from hardening_api.status import TrainingFigures
from hardening_trainer.dpo.arguments import dpo_arguments, find_device, weights_dtype
from hardening_trainer.dpo.checkpoints import last_complete, remove_torn
from hardening_trainer.dpo.job import DpoJob, Outcome, Report, StopRequested
from hardening_trainer.dpo.pairs import TokenPairs, tokenize
from hardening_trainer.dpo.trainer import CachedReferenceTrainer
from hardening_trainer.dpo.watch import TrainingWatch
from hardening_trainer.dpo.weights import freeze_lower_layers, lora_config, save_trained
from hardening_trainer.errors import Interrupted
from hardening_trainer.models import load_causal_lm, load_tokenizer

log = logging.getLogger(__name__)


def train(job: DpoJob, report: Report, stop: StopRequested) -> Outcome:
    """Train, resuming from the last complete checkpoint, and save the model to `job.output`.

    `stop` is asked after every step. Raises Interrupted once it says so and a checkpoint is saved, TrainingDiverged
    on a NaN or exploding loss, DataFault and UsageFault for pairs and settings that cannot be trained with.
    """
    tokenizer = load_tokenizer(Path(job.model))
    pairs = tokenize([Path(file) for file in job.pairs], tokenizer, job.training.max_length)
    if not pairs.rows:
        return Outcome(figures=_figures(job, pairs, []), overlong=pairs.overlong)
    device = find_device(job.training)
    # DPOConfig before the model: with ZeRO-3 the model is then sharded while it is loaded.
    arguments = dpo_arguments(job, device, AutoConfig.from_pretrained(job.model, trust_remote_code=False))
    model = load_causal_lm(Path(job.model), weights_dtype(job.training, device), arguments.device)
    watch = TrainingWatch(report, stop, job.training.checkpoint_steps)
    adapter = None
    if job.training.method == "LoRA":
        adapter = lora_config(model, job.training.lora, job.training.upper_layers)
    else:
        freeze_lower_layers(model, job.training.upper_layers)
    trainer = CachedReferenceTrainer(model, arguments, pairs, tokenizer, adapter, [watch])
    del model
    _run(trainer, watch, Path(job.checkpoints))
    save_trained(trainer, Path(job.model), Path(job.output))
    return Outcome(figures=_figures(job, pairs, trainer.state.log_history), overlong=pairs.overlong)


def _engine(trainer: CachedReferenceTrainer) -> str:
    """Say what the training ran on: DeepSpeed's stage, how many processes, and their backend."""
    plugin = trainer.accelerator.state.deepspeed_plugin if trainer.is_deepspeed_enabled else None
    engine = f"ZeRO-{plugin.zero_stage}" if plugin is not None else "Torch"
    if not distributed.is_initialized():
        return f"{engine} in one process"
    return f"{engine} in {distributed.get_world_size()} processes over {distributed.get_backend()}"


def _run(trainer: CachedReferenceTrainer, watch: TrainingWatch, checkpoints: Path) -> None:
    resumed = last_complete(checkpoints)
    if trainer.is_world_process_zero():
        remove_torn(checkpoints)
    if resumed is not None:
        log.info("resuming from %s", resumed.name)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    log.info("%d steps, %.1f s, %s", trainer.state.global_step, time.monotonic() - started, _engine(trainer))
    if watch.stopped:
        raise Interrupted(f"training: stopped after step {trainer.state.global_step}: the next run resumes from there")


def _figures(job: DpoJob, pairs: TokenPairs, history: list[dict[str, float]]) -> TrainingFigures:
    steps = [entry for entry in history if "loss" in entry]
    last = steps[-max(1, math.ceil(len(steps) / 10)) :]

    def mean(name: str) -> float | None:
        return statistics.fmean(float(entry[name]) for entry in last) if last else None

    return TrainingFigures(
        role=job.role,
        pairs=len(pairs.rows),
        steps=len(steps),
        tokens=pairs.tokens * job.training.epochs if steps else 0,
        loss=mean("loss"),
        rewards_margins=mean("rewards/margins"),
        rewards_accuracies=mean("rewards/accuracies"),
    )
