"""A DPO training's job, its events and its outcome; and the folder through which a stage and its processes pass them.

Files are written whole, or appended to by line:

job.json        the stage -> every process
stop            the stage -> every process: save and stop after this step
progress.jsonl  the node's first process -> the stage, a line an event
outcome.json    the node's first process -> the stage, when all went well
failure-R.json  process R -> the stage, when it did not
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

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
    """The result of a training that ran to its end."""

    figures: TrainingFigures
    """Counts, and means over the last tenth of the steps. With 0 pairs nothing was trained and no model saved."""
    overlong: int = 0
    """Pairs dropped because prompt and answer are longer than `training.maxLength`."""


class TrainingFailure(Contract):
    """Why a training process ended without an outcome."""

    exit_code: int
    """Of sysexits."""
    reason: str
    """CamelCase."""
    message: str
    """For its reader; never the text of a pair."""


class Report(Protocol):
    """Receives the events of a training."""

    def planned(self, steps: int, done: int) -> None:
        """There are `steps` optimizer steps, `done` of them by an earlier attempt."""

    def stepped(self, tokens: int, figures: dict[str, float]) -> None:
        """One step was made, over `tokens` tokens; `figures` are loss, rewards/margins, rewards/accuracies, ..."""

    def saved(self) -> None:
        """A checkpoint is complete."""


class Exchange:
    """Reads and writes the folder, for the stage and for its processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = 0

    def give_job(self, job: DpoJob) -> None:
        """Write the job, before the processes start."""
        self._folder.mkdir(parents=True)
        self._write("job.json", job.model_dump_json(by_alias=True))

    def job(self) -> DpoJob:
        """Read the job."""
        return DpoJob.model_validate_json((self._folder / "job.json").read_bytes())

    def ask_to_stop(self) -> None:
        """Have the training save and stop after the step it is in."""
        (self._folder / "stop").touch()

    def stop_asked(self) -> bool:
        """Whether the stage has asked the training to stop."""
        return (self._folder / "stop").exists()

    def append(self, event: str, *values: Any) -> None:
        """Append one event of a Report."""
        with (self._folder / "progress.jsonl").open("a") as stream:
            stream.write(json.dumps([event, *values]) + "\n")

    def pass_on(self, report: Report) -> None:
        """Pass every new complete line to `report`."""
        file = self._folder / "progress.jsonl"
        if not file.exists():
            return
        with file.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                event, *values = json.loads(line)
                getattr(report, event)(*values)

    def leave_outcome(self, outcome: Outcome) -> None:
        """Write the outcome."""
        self._write("outcome.json", outcome.model_dump_json(by_alias=True))

    def outcome(self) -> Outcome | None:
        """Read the outcome, if there is one."""
        file = self._folder / "outcome.json"
        return Outcome.model_validate_json(file.read_bytes()) if file.exists() else None

    def leave_failure(self, rank: int, failure: TrainingFailure) -> None:
        """Write why process `rank` failed."""
        self._write(f"failure-{rank}.json", failure.model_dump_json(by_alias=True))

    def failure(self) -> TrainingFailure | None:
        """Read the first failure that was written, if any: later ones are often its consequences."""
        files = sorted(self._folder.glob("failure-*.json"), key=lambda file: file.stat().st_mtime_ns)
        return TrainingFailure.model_validate_json(files[0].read_bytes()) if files else None

    def _write(self, name: str, text: str) -> None:
        temporary = self._folder / f".{name}"
        temporary.write_text(text)
        temporary.replace(self._folder / name)


class ExchangeReport:
    """A Report that passes events on to the stage."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def planned(self, steps: int, done: int) -> None:
        """There are `steps` steps, `done` of them by an earlier attempt."""
        self._exchange.append("planned", steps, done)

    def stepped(self, tokens: int, figures: dict[str, float]) -> None:
        """One step was made."""
        self._exchange.append("stepped", tokens, figures)

    def saved(self) -> None:
        """A checkpoint is complete."""
        self._exchange.append("saved")


class SilentReport:
    """A Report for a process that is not its node's first: the first one reports for all."""

    def planned(self, steps: int, done: int) -> None:
        """Report nothing."""

    def stepped(self, tokens: int, figures: dict[str, float]) -> None:
        """Report nothing."""

    def saved(self) -> None:
        """Report nothing."""
