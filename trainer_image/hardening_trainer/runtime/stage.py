"""What every stage runs in: one call from config to result, the same in a pod and in a local process.

finished before, with the same inputs?  -> its recorded result, nothing is done
open the attempt -> the stage's `run(context)` -> commit: files, then the manifest -> result
stopped midway -> what it saved is kept, exit code 75
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from hardening_api.sources import DataSource
from hardening_api.stages import StageConfig, StageResult, Weights
from hardening_trainer.data import PairTable, PromptTable
from hardening_trainer.errors import StageError, UsageFault, as_stage_error
from hardening_trainer.runtime.attempt import Attempt
from hardening_trainer.runtime.inputs import Inputs, changed_inputs
from hardening_trainer.runtime.progress import Clock, Progress
from hardening_trainer.runtime.signals import StopSignal
from hardening_trainer.storage.workspace import Workspace

if TYPE_CHECKING:
    from hardening_trainer.models import ResolvedModel

log = logging.getLogger(__name__)

Section = TypeVar("Section", bound=BaseModel)


@dataclass(frozen=True)
class StageContext:
    """Everything a stage's `run` may use."""

    config: StageConfig
    workspace: Workspace
    progress: Progress
    stop: StopSignal
    scratch: Path
    """A folder of this machine for anything; gone when the stage ends."""
    attempt: Attempt
    inputs: Inputs
    environ: Mapping[str, str]
    """Environment variables, for secrets."""
    leader: bool = True
    """False on the further nodes of one training: they commit nothing."""

    @property
    def folder(self) -> Path:
        """Empty at first; its files become the stage's folder in the workspace."""
        return self.attempt.folder

    @property
    def partial(self) -> Path:
        """Kept between interrupted attempts of the same work; the result must not depend on whether it was used."""
        return self.attempt.partial

    def section(self, kind: type[Section]) -> Section:
        """Return the config's section of this stage. Raises UsageFault where it is missing."""
        for _, value in self.config:
            if isinstance(value, kind):
                return value
        name = kind.__name__.removesuffix("Config").lower()
        raise UsageFault(f"stage config: {name}: missing: the stage needs its own section, not that of another")

    def advance(self, units: int = 0, tokens: int = 0) -> None:
        """Count finished units of work, and tokens read and written: a safe point to stop. Raises Interrupted."""
        self.progress.advance(units, tokens)
        self.stop.check()

    def model(self, weights: Weights) -> ResolvedModel:
        """Return a model's local folder and digest, and record it as an input."""
        return self.inputs.model(weights)

    def prompts(self, source: DataSource) -> PromptTable:
        """Return the prompts of a source, and record what was read."""
        return self.inputs.prompts(source)

    def pairs(self, source: DataSource) -> PairTable:
        """Return the preference rows of a source, and record what was read."""
        return self.inputs.pairs(source)

    def record_input(self, name: str, digest: str) -> None:
        """Record something else that was read (`data:...`, `judge:...`), `digest` being `sha256:<hex>`."""
        self.attempt.record_input(name, digest)

    def keep_partial(self) -> None:
        """Make `partial` outlive this machine. Happens by itself when the stage is interrupted."""
        self.attempt.keep_partial()


StageFunction = Callable[[StageContext], StageResult]


@dataclass(frozen=True)
class Surroundings:
    """What a stage is given besides its config."""

    progress: Progress
    stop: StopSignal
    scratch: Path
    environ: Mapping[str, str]
    clock: Clock = time.time


def run_stage(
    config: StageConfig, load: Callable[[], StageFunction], workspace: Workspace, around: Surroundings
) -> StageResult:
    """Do the stage's work unless it is done, and return its result with the digest of its manifest.

    `load` imports the stage's own module; it is called only when there is work. Raises StageError.
    """
    started = around.clock()
    leader = int(around.environ.get("HARDENING_NODE_RANK", "0")) == 0
    attempt = Attempt(config, workspace, around.scratch / "attempt", leader)
    try:
        done = attempt.finished()
        if done is not None and not changed_inputs(done, config, workspace, around.environ):
            log.info("%s: finished before, with the same config and inputs: nothing to do", config.folder)
            attempt.close()
            around.progress.finish()
            return done.result.model_copy(update={"manifest": done.digest()})
        attempt.open()
        inputs = Inputs(workspace, around.scratch / "inputs", attempt.record_input, around.environ)
        context = StageContext(
            config, workspace, around.progress, around.stop, around.scratch, attempt, inputs, around.environ, leader
        )
        result = _attempt(context, load)
        result = result.model_copy(
            update={"seconds": max(0.0, around.clock() - started), "tokens": result.tokens or around.progress.tokens}
        )
        created = datetime.fromtimestamp(around.clock(), UTC).isoformat(timespec="seconds")
        committed = attempt.commit(result, created) if leader else result
        around.progress.finish()
        return committed
    except Exception as error:
        raise as_stage_error(error) from error


def _attempt(context: StageContext, load: Callable[[], StageFunction]) -> StageResult:
    try:
        context.stop.check()
        return load()(context)
    except Exception as error:
        _keep_what_is_there(context, error)
        raise


def _keep_what_is_there(context: StageContext, error: Exception) -> None:
    """Save the partial work after a failure too, so that a retry does not start over; the failure itself counts."""
    try:
        context.keep_partial()
    except StageError as second:
        log.warning("partial work is not saved (%s), after %s", second.message, type(error).__name__)


def failure(config: StageConfig, error: StageError, seconds: float) -> StageResult:
    """Return the result of a stage that ended with `error`."""
    return StageResult(
        stage=config.stage,
        round=config.round,
        shard=config.shard,
        outcome="Interrupted" if error.reason == "Interrupted" else "Failed",
        reason=error.reason,
        message=error.message[:1024],
        seconds=max(0.0, seconds),
    )
