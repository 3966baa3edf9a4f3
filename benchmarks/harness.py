"""What every benchmark here shares: rows, interleaved timing, facts about the machine, a table and a JSON file."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

RESULTS = Path(__file__).parent / "results"


def arguments(description: str, rows: int) -> argparse.ArgumentParser:
    """The options all benchmarks take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="folder of a chat model (safetensors)")
    parser.add_argument("--pairs", type=Path, required=True, help="JSONL of prompt, preferred, dispreferred")
    parser.add_argument("--rows", type=int, default=rows, help="rows taken from the file")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, each running every contender in turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="where the JSON goes (default: benchmarks/results)")
    return parser


def read_rows(path: Path, count: int) -> list[dict[str, str]]:
    """The first `count` rows of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return rows[:count]


def interleaved(contenders: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds per unit of work: each contender does its work once a round and returns how many units it did."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats):
        names = list(contenders)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            units = contenders[name]()
            seconds[name].append((time.perf_counter() - started) / units)
            print(f"round {turn + 1}/{repeats}  {name}: {seconds[name][-1]:.4f} s per unit", flush=True)
    return seconds


def ratios(seconds: Mapping[str, list[float]], ours: str) -> dict[str, dict[str, float]]:
    """How many times faster `ours` is than each other, round by round: median, lowest, highest."""
    result = {}
    for name, values in seconds.items():
        if name != ours:
            paired = [theirs / own for theirs, own in zip(values, seconds[ours], strict=True)]
            result[name] = {"median": statistics.median(paired), "min": min(paired), "max": max(paired)}
    return result


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def report(name: str, result: Mapping[str, Any], output: Path | None) -> None:
    """Print the ratios as a table and write everything as JSON."""
    print(f"\n{'compared with':<28}{'median':>9}{'min':>9}{'max':>9}{'goal':>9}")
    for other, figures in result["times_faster_than"].items():
        goal = result["goals"][other]
        spread = "".join(f"{figures[key]:>8.2f}x" for key in ("median", "min", "max"))
        print(f"{other:<28}{spread}{goal:>8.2f}x")
    write({"machine": machine(), **result}, output or RESULTS / f"{name}.json")


def write(result: Mapping[str, Any], path: Path) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
