"""The demo as a newcomer runs it: whether it promotes, in how many seconds, and in how much memory.

    python -m benchmarks.demo

Runs `make demo` (which starts over: an earlier `runs/smollm2-135m` must be moved away first) and looks at its process
tree once a second. `pss` shares out what processes have in common and is what the machine needs; `rss` counts that
once for each of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, machine, write

ROOT = Path(__file__).parents[1]
RUN = ROOT / "runs" / "smollm2-135m"
GOALS = {"seconds": 600, "peak_pss_gib": 6.0}


def tree(root: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield root
    for tasks in Path(f"/proc/{root}/task").glob("*/children"):
        for child in _read(tasks).split():
            yield from tree(int(child))


def memory(root: int) -> dict[str, float]:
    """Return GiB in use by a process and all below it."""
    kib = {"Pss": 0, "Rss": 0}
    for process in tree(root):
        for line in _read(Path(f"/proc/{process}/smaps_rollup")).splitlines():
            name, _, value = line.partition(":")
            if name in kib:
                kib[name] += int(value.split()[0])
    return {name.lower(): value / 2**20 for name, value in kib.items()}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""


def watched(command: list[str]) -> dict[str, Any]:
    """Run a command and return its exit code, its seconds and the most memory it used."""
    peak = {"pss": 0.0, "rss": 0.0}
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    while process.poll() is None:
        peak = {name: max(value, peak[name]) for name, value in memory(process.pid).items()}
        time.sleep(1)
    return {
        "exit_code": process.returncode,
        "seconds": round(time.monotonic() - started, 1),
        **{f"peak_{name}_gib": round(value, 2) for name, value in peak.items()},
    }


def main() -> int:
    """Run, print, write; 1 where a goal is not met."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS / "demo.json", help="where the JSON goes")
    options = parser.parse_args()
    if RUN.exists():
        sys.exit(f"{RUN.relative_to(ROOT)}: exists, and the demo would resume from there: move it away")
    used = watched(["make", "demo"])
    status = json.loads((RUN / "status.json").read_text())
    met = {name: used[name] <= most for name, most in GOALS.items()} | {"promoted": status["phase"] == "Promoted"}
    kept = {name: status.get(name) for name in ("phase", "base", "rounds", "promoted", "decisions")}
    write({"machine": machine(), **used, "goals": GOALS, "goals_met": met, "status": kept}, options.output)
    print(json.dumps(used | {"goals_met": met}, indent=1))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
