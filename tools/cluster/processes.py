"""Long-running processes, each in a session of its own, known by a file with its id and start time."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.settings import Settings


@dataclass(frozen=True)
class Component:
    """A process of the cluster: its name and its command line."""

    name: str
    argv: Sequence[str]


def start(settings: Settings, component: Component, env: Mapping[str, str] | None = None) -> None:
    """Start it unless it runs. Its output goes to logs/NAME.log."""
    if is_running(settings, component.name):
        return
    with (settings.logs / f"{component.name}.log").open("ab") as log:
        process = subprocess.Popen(
            list(component.argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=settings.run,
            env=None if env is None else os.environ | dict(env),
        )
    record = {"pid": process.pid, "started": start_time(process.pid)}
    path = _pid_file(settings, component.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def stop(settings: Settings, name: str, patience: float = 10) -> None:
    """SIGTERM, then SIGKILL after `patience` seconds. Returns when it is gone; nothing happens if it is not there."""
    pid = running_pid(settings, name)
    if pid is not None:
        end(pid, patience)
    _pid_file(settings, name).unlink(missing_ok=True)


def end(pid: int, patience: float) -> None:
    """End one process by its id and wait until it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
            signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], seconds)[0]:
                break
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    _reap(pid)


def is_running(settings: Settings, name: str) -> bool:
    """Whether the process that was started under this name still runs."""
    return running_pid(settings, name) is not None


def running_pid(settings: Settings, name: str) -> int | None:
    """The id of the running process; None when it ended, even if its id was given to another since."""
    path = _pid_file(settings, name)
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    pid = int(record["pid"])
    _reap(pid)
    return pid if start_time(pid) == record["started"] else None


def started_names(settings: Settings) -> list[str]:
    """The names of everything started and not stopped, running or not."""
    return sorted(path.stem for path in (settings.run / "pids").glob("*.json"))


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since the machine did; None when it is gone or has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _pid_file(settings: Settings, name: str) -> Path:
    return settings.run / "pids" / f"{name}.json"
