"""How many threads the processes of a stage get: as many as there are cores that nothing else uses.

PyTorch's threads wait for each other in a loop: beside other work, two of them waste a core that one would not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

WINDOW_SECONDS = 0.3
_IDLE_FIELDS = (3, 4)
"""Of a `cpuN` line of /proc/stat: idle, and waiting for a disk."""

Load = Callable[[], float]
"""How many of the usable cores other work keeps busy just now."""


@dataclass(frozen=True)
class Cores:
    """The cores this process may use, and how many of them are busy."""

    usable: int
    busy: float

    @property
    def free(self) -> int:
        """Cores to compute on, at least one."""
        return max(1, self.usable - round(self.busy))

    def threads(self, processes: int) -> int:
        """Threads of each of `processes` that start together."""
        return max(1, self.free // processes)

    @property
    def shortage(self) -> str | None:
        """What to say where other work takes a core or more."""
        if round(self.busy) < 1:
            return None
        return (
            f"other work keeps {self.busy:.1f} of {self.usable} cores busy: computing on {self.free}: "
            "set OMP_NUM_THREADS to choose the threads of each process yourself"
        )


def find_cores(load: Load) -> Cores:
    """Count the cores of this process and, by `load`, those that are busy."""
    return Cores(usable_cores(), load())


def usable_cores() -> int:
    """How many cores this process may use: fewer than the machine's under `taskset` or in a container."""
    return len(_allowed())


def busy_cores() -> float:
    """Busy cores among those this process may use, over a third of a second; 0 where the system does not say.

    The system's load average would count a stage that ended a moment ago.
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    before = stat.read_text()
    time.sleep(WINDOW_SECONDS)
    return busy_between(before, stat.read_text(), _allowed())


def busy_between(before: str, after: str, cores: Iterable[int]) -> float:
    """Busy cores among `cores` between two readings of /proc/stat."""
    earlier, later = _ticks(before), _ticks(after)
    busy = 0.0
    for core in earlier.keys() & later.keys() & set(cores):
        idle, total = (end - begin for begin, end in zip(earlier[core], later[core], strict=True))
        busy += 1 - idle / total if total > 0 else 0.0
    return busy


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _ticks(stat: str) -> dict[int, tuple[int, int]]:
    """Core -> (idle, all) clock ticks since the machine started. A guest's are counted in its host's already."""
    ticks: dict[int, tuple[int, int]] = {}
    for line in stat.splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            counts = [int(count) for count in fields[:8]]
            ticks[int(name.removeprefix("cpu"))] = sum(counts[place] for place in _IDLE_FIELDS), sum(counts)
    return ticks
