"""Stage processes: started so that they end when their runner does, and found again after it was killed."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from hardening_api.stages import STAGES, StageConfig
from hardening_operator.local.cores import Cores, Load, busy_cores, find_cores, usable_cores
from hardening_operator.local.home import HomeError, read_json, write_json

THREADS = "OMP_NUM_THREADS"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
"""Loaded here: between fork and exec a process may not load anything when it has threads (those of `/metrics`)."""


def require_trainer() -> None:
    """Check that stages can run here. Raises HomeError when their package is not installed."""
    if importlib.util.find_spec("hardening_trainer") is None:
        raise HomeError("models cannot run here without hardening-trainer: pip install hardening-trainer")


class Processes:
    """The stage processes this runner started, and those an earlier one left behind.

    Raises HomeError when the trainer is not installed.
    """

    def __init__(self, environment: Mapping[str, str], load: Load = busy_cores) -> None:
        require_trainer()
        self._environment, self._load = dict(environment), load
        self._children: dict[Path, subprocess.Popen[bytes]] = {}

    def cores(self) -> Cores:
        """Return the cores to share out among stages that start now; with `$OMP_NUM_THREADS` set, no load is read."""
        return Cores(usable_cores(), 0.0) if THREADS in self._environment else find_cores(self._load)

    def start(self, folder: Path, config: StageConfig, threads: int, now: datetime) -> None:
        """Start the stage of ``config`` in ``folder``; its processes share ``threads`` unless the user chose."""
        write_json(folder / "stage.json", config.to_document())
        command = [
            *(sys.executable, "-m", "hardening_trainer", STAGES[config.stage].folder),
            *("--config", str(folder / "stage.json"), "--result", str(folder / "result.json")),
        ]
        processes = config.train.training.processes if config.train else 1
        environment = {THREADS: str(max(1, threads // processes)), **self._environment, "PYTHONUNBUFFERED": "1"}
        with (folder / "log").open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one system call
            )
        self._children[folder] = child
        record = {"pid": child.pid, "born": _birth(child.pid), "startedAt": now.isoformat()}
        write_json(folder / "process.json", record)

    def alive(self, folder: Path, now: datetime) -> bool:
        """Return whether the stage in ``folder`` still runs; the first time it does not, record how it ended."""
        child = self._children.get(folder)
        if child is None:
            record = read_json(folder / "process.json")
            return record is not None and not (folder / "exit.json").exists() and _runs(record["pid"], record["born"])
        code = child.poll()
        if code is None:
            return True
        if not (folder / "exit.json").exists():
            write_json(folder / "exit.json", {"exitCode": code, "endedAt": now.isoformat()})
        return False

    def terminate(self, folder: Path, sig: signal.Signals = signal.SIGTERM) -> None:
        """Ask the stage in ``folder`` to save and leave."""
        record = read_json(folder / "process.json")
        if record is not None and _runs(record["pid"], record["born"]):
            os.kill(record["pid"], sig)


def _end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _birth(pid: int) -> str | None:
    """Return when a process was born, in clock ticks, so that a reused id is not taken for it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _runs(pid: int, born: str | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False
    return born is None or _birth(pid) == born
