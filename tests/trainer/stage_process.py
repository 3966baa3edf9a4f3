"""Running stages as processes of their own, and looking at what they leave.

The processes are forked from a server that has imported torch once, which saves seconds for each of them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hardening_api.stages import STAGES, StageConfig

PATIENCE_SECONDS = 240
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["hardening_trainer.stages.attack", "hardening_trainer.stages.score"])


@dataclass
class Finished:
    code: int | None
    result: dict[str, Any]
    log: str


def write_config(config: StageConfig, home: Path, *more: str) -> list[str]:
    """Write `stage.json` and return the arguments of `python -m hardening_trainer`."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "stage.json").write_text(json.dumps(config.to_document()))
    return [
        *(STAGES[config.stage].folder, "--config", str(home / "stage.json"), "--result", str(home / "result.json")),
        *more,
    ]


def _child(arguments: list[str], home: str, largest_file: int | None) -> None:
    log = os.open(Path(home) / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    os.environ["HARDENING_CACHE_DIR"] = str(Path(home) / "cache")
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    import torch

    from hardening_trainer.commands.main import main

    torch.set_num_threads(1)
    sys.exit(main(arguments))


def start(config: StageConfig, home: Path, *more: str, largest_file: int | None = None) -> BaseProcess:
    process = CONTEXT.Process(target=_child, args=(write_config(config, home, *more), str(home), largest_file))
    process.start()
    return process


def send(process: BaseProcess, number: int) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


def finish(process: BaseProcess, home: Path) -> Finished:
    process.join(PATIENCE_SECONDS)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running: {(home / 'log').read_text()}")
    result = home / "result.json"
    return Finished(
        process.exitcode, json.loads(result.read_text()) if result.exists() else {}, (home / "log").read_text()
    )


def run(config: StageConfig, home: Path, *more: str, largest_file: int | None = None) -> Finished:
    return finish(start(config, home, *more, largest_file=largest_file), home)


def wait_until(condition: Callable[[], bool], process: BaseProcess) -> None:
    """Poll until `condition` holds; fail when the process ends first or patience does."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.is_alive(), f"ended first, with {process.exitcode}"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)
