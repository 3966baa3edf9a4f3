"""Running commands: what failed is said in words, with the end of its output."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class BringUpError(Exception):
    """The cluster could not be made; the message says what to look at."""


def say(text: str) -> None:
    """One line about what is being done."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """One process at a time: a second waits, and then finds done what the first did."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def output(
    argv: Sequence[object],
    *,
    given: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run to the end and return standard output. Raises BringUpError with the end of what the command said."""
    done = subprocess.run(
        [str(part) for part in argv], input=given, env=env, cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise BringUpError(f"`{' '.join(str(part) for part in argv[:6])} ...` ended with {done.returncode}:\n{said}")
    return done.stdout


def until(what: str, seconds: float, check: Callable[[], bool], pause: float = 0.25) -> None:
    """Ask `check` until it is true. Raises BringUpError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise BringUpError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
