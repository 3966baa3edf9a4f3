"""The command line of the trainer: arguments and files in, a result file and an exit code out."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from hardening_api.stages import STAGE_OF_FOLDER, STAGES, ExitCode, StageConfig, StageResult
from hardening_api.status import StageName
from hardening_trainer.commands import judge_file, score_file
from hardening_trainer.errors import StageError, UsageFault, as_stage_error, validation_lines
from hardening_trainer.runtime.logs import set_up_logging
from hardening_trainer.runtime.progress import Progress
from hardening_trainer.runtime.signals import StopSignal
from hardening_trainer.runtime.stage import StageFunction, Surroundings, failure, run_stage
from hardening_trainer.storage.workspace import Workspace, atomic_file

log = logging.getLogger("hardening_trainer")

TERMINATION_LOG = Path("/dev/termination-log")


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    set_up_logging()
    try:
        given = _parser().parse_args(arguments)
    except SystemExit as error:
        return ExitCode.OK if error.code in (0, None) else UsageFault.exit_code
    if given.command in STAGE_OF_FOLDER:
        stop = StopSignal()
        stop.install()
        return run_command(STAGE_OF_FOLDER[given.command], given, stop)
    return print_lines(given)


def print_lines(given: argparse.Namespace) -> int:
    """Print what a command over a file yields, or one line on stderr that says what is wrong; return the exit code."""
    try:
        for line in {"score-file": score_file.lines, "judge-file": judge_file.lines}[given.command](given, os.environ):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the lines has enough of them
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        known = as_stage_error(error)
        sys.stderr.write(f"{given.program}: {known.message}\n")
        return known.exit_code
    return ExitCode.OK


def run_command(stage: StageName, given: argparse.Namespace, stop: StopSignal) -> int:
    """Run one stage; leave its result in the result file, and return the exit code."""
    started = time.time()
    try:
        config = read_config(given.config, stage)
    except UsageFault as error:
        for line in error.message.splitlines():
            log.error("%s", line)
        return _leave_unread(stage, error, given)
    result_file: Path = given.result or _default_result(given.config)
    beside = None if result_file == TERMINATION_LOG else result_file.with_name("progress.json")
    try:
        result_file.parent.mkdir(parents=True, exist_ok=True)
        progress = Progress(config, beside)
        if given.metrics_port is not None:
            log.info("metrics on port %d", progress.serve(given.metrics_port))
        with tempfile.TemporaryDirectory(prefix="hardening-") as scratch:
            around = Surroundings(progress, stop, Path(scratch), os.environ)
            workspace = Workspace.open(config.workspace, os.environ)
            result = run_stage(config, lambda: load_stage(stage), workspace, around)
        return _leave(result, result_file, ExitCode.OK)
    except Exception as error:
        known = as_stage_error(error)
        log.error("%s: %s", known.reason, known.message)
        return _leave(failure(config, known, time.time() - started), result_file, known.exit_code)


def load_stage(stage: StageName) -> StageFunction:
    """Import a stage's module and return its `run`."""
    module = importlib.import_module(f"hardening_trainer.stages.{STAGES[stage].section}")
    run: StageFunction = module.run
    return run


def read_config(path: Path, stage: StageName) -> StageConfig:
    """Read and validate a StageConfig. Raises UsageFault with one line a field."""
    try:
        config = StageConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}: expected a readable StageConfig") from error
    except ValidationError as error:
        raise UsageFault("\n".join(validation_lines(str(path), error))) from error
    if config.stage != stage:
        raise UsageFault(f"{path}: stage: got {config.stage}: expected {stage}, as the command says")
    return config


def _default_result(config: Path) -> Path:
    return TERMINATION_LOG if TERMINATION_LOG.exists() else config.with_name("result.json")


def _leave_unread(stage: StageName, error: UsageFault, given: argparse.Namespace) -> int:
    """Leave a result although there is no config to take round and shard from."""
    result = StageResult(stage=stage, round=0, outcome="Failed", reason=error.reason, message=error.message[:1024])
    target: Path = given.result or _default_result(given.config)
    return _leave(result, target, error.exit_code) if target.parent.is_dir() else error.exit_code


def _leave(result: StageResult, target: Path, code: int) -> int:
    try:
        data = result.to_message().encode()
        if target == TERMINATION_LOG:
            target.write_bytes(data)  # a mount, which cannot be replaced
        else:
            with atomic_file(target) as stream:
                stream.write(data)
    except (OSError, ValueError) as error:
        known = as_stage_error(error)
        log.error("%s: the result is not written: %s", target, known.message)
        return code or StageError.exit_code
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hardening_trainer", description="Run one stage of a HardeningRun.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, stage in STAGE_OF_FOLDER.items():
        command = commands.add_parser(name, help=f"run the stage {stage}")
        command.add_argument("--config", type=Path, required=True, help="the StageConfig, JSON")
        command.add_argument("--result", type=Path, help="where the StageResult goes")
        command.add_argument("--metrics-port", type=int, help="serve /metrics here; 0 takes any free port")
    for name, program, module, words in (
        (
            "score-file",
            "hardening score",
            score_file,
            "print R of every row of FILE, a JSON line each",
        ),
        ("judge-file", "hardening judge", judge_file, "print a verdict on every row of FILE, a JSON line each"),
    ):
        command = commands.add_parser(name, prog=program, help=words, description=words)
        command.set_defaults(program=program)
        module.add_arguments(command)
    return parser
