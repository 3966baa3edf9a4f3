"""What one GPU does in at most eight minutes: a forward pass, scoring, steps of DPO and sampling, side by side.

    python benchmarks/gpu.py [--wheels FOLDER] [--parts scoring lora ...] [--output FILE]
    python benchmarks/gpu.py --dry-run

The model has Mistral-7B's shape and random weights in bfloat16, so nothing is downloaded; lengths are drawn, the same
for all contenders. Each part runs in a process of its own, which is ended when its time is up: one that fails or runs
out of time is recorded with its reason, and the next one starts. The JSON is written after every part. A ratio is of
figures of this run, or has a reason instead of a value.

    scoring             plain forward; pairs scored by ours; the same in padded batches of transformers
    sampling            ours; batches of `generate`
    lora, lora_trl      steps of DPO with adapters: ours; stock TRL, which switches them off for its reference
    full, full_trl      steps of DPO of all weights of half its layers, the optimizer in the host's memory (DeepSpeed):
                        ours; stock TRL with its reference model in memory. Without DeepSpeed in plain PyTorch, as
                        `engine` then says. The whole model would fill a host of 128 GiB: `--full-layers 32`

This module imports only the standard library: the rest may lie in `--wheels`, a folder of wheels for the device's
Python, which is put before the installed packages. `benchmarks/gpu_wheels.sh` fills it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (ROOT, ROOT / "crds", ROOT / "trainer_image")
BUDGETS = {"scoring": 75, "sampling": 75, "lora": 55, "lora_trl": 55, "full": 115, "full_trl": 95}
"""Seconds kept for each part, its process's start included; what one leaves, the next may use."""
LIMIT = 470
"""Seconds after which no part runs."""
TOLERANCE_NATS = {"float32": 0.01, "bfloat16": 2.0}
"""By which an answer's log-probability may differ between two arms: bfloat16 rounds a sum by some tenths."""
VLLM_TOKENS_PER_SECOND = 12_500
"""New tokens a second that vLLM publishes for an 8B model on one H100: the anchor for sampling."""

Figures = dict[str, Any]
Runner = Callable[[str, float], Figures]
"""(part, seconds it may take) -> its record: `status`, then figures or a `reason`."""


def run_parts(parts: Sequence[str], run: Runner, limit: float, save: Callable[[dict[str, Figures]], None]) -> bool:
    """Run the parts in turn within `limit` seconds, `save` the records after each; whether all were done."""
    records: dict[str, Figures] = {}
    started = time.monotonic()
    for number, part in enumerate(parts):
        began = time.monotonic()
        allowed = limit - (began - started) - sum(BUDGETS[later] for later in parts[number + 1 :])
        if allowed <= 0:
            record: Figures = {"status": "skipped", "reason": f"none of the run's {limit:.0f} s were left for it"}
        else:
            record = run(part, allowed)
        records[part] = {**record, "wall_seconds": round(time.monotonic() - began, 2)}
        print(f"{part}: {record['status']}{': ' + record['reason'] if 'reason' in record else ''}", flush=True)
        save(records)
    return all(record["status"] == "done" for record in records.values())


def in_process(part: str, seconds: float, settings: Mapping[str, Any]) -> Figures:  # noqa: ARG001  # a Runner's
    """Run a part here: the dry run's way, too small for a budget."""
    from benchmarks.one_gpu.part import record  # noqa: PLC0415  # torch, which a parent of processes does not need

    return record(part, settings)


def in_child(part: str, seconds: float, settings: Mapping[str, Any], environ: Mapping[str, str]) -> Figures:
    """Run a part in a process that is killed after `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "record.json"
        command = [sys.executable, "-m", "benchmarks.one_gpu.part", part, json.dumps(settings), str(answer)]
        try:
            code = subprocess.run(command, cwd=ROOT, env=dict(environ), timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            return {"status": "out of time", "reason": f"not done within {seconds:.0f} s"}
        if answer.exists():
            record: Figures = json.loads(answer.read_text())
            return record
    if code == -9:
        return {"status": "failed", "reason": "its process was killed, as it is when the host's memory is full"}
    return {"status": "failed", "reason": f"its process ended with {code} and left no figures"}


def ratios(parts: Mapping[str, Figures]) -> dict[str, Figures]:
    """What the goals are about, from figures of `parts`: `value`, `goal`, `met`; or `value` None and a `reason`."""
    table = _Ratios(parts)
    for size in ("default pass", "best pass"):
        ours = ("scoring", size, "tokens_per_second")
        table.divide(
            f"scoring, {size}: share of a plain forward", ours, ("scoring", "forward", "tokens_per_second"), 0.6
        )
        table.divide(f"scoring, {size}: times a padded pass", ours, ("scoring", "padded", "tokens_per_second"), 2.5)
    for size in ("default batch", "large batch"):
        ours = ("sampling", size, "tokens_per_second")
        table.divide(f"sampling, {size}: times generate", ours, ("sampling", f"generate, {size}", "tokens_per_second"))
        table.divide(f"sampling, {size}: of vLLM's published 8B on one H100", ours, VLLM_TOKENS_PER_SECOND)
    for method in ("lora", "full"):
        trl = f"{method}_trl"
        table.divide(f"{method}: times TRL's step", (trl, "seconds_per_step"), (method, "seconds_per_step"), 1.5)
        table.divide(f"{method}: peak memory, of TRL's", (method, "peak_bytes"), (trl, "peak_bytes"), 0.7, at_most=True)
    table.divide("lora: MFU", ("lora", "mfu"), 1.0, 0.4)
    table.divide("full: MFU", ("full", "mfu"), 1.0)
    return table.rows


class _Ratios:
    """Rows of `ratios`, each looked up in the parts' figures."""

    def __init__(self, parts: Mapping[str, Figures]) -> None:
        self._parts = parts
        self.rows: dict[str, Figures] = {}

    def divide(
        self,
        name: str,
        above: tuple[str, ...],
        below: tuple[str, ...] | float,
        goal: float | None = None,
        *,
        at_most: bool = False,
    ) -> None:
        """Add the row `name`: the figure at `above` over the one at `below`, or over a number."""
        try:
            dividend = self._look_up(above)
            divisor = self._look_up(below) if isinstance(below, tuple) else below
            value = dividend / divisor
        except LookupError as missing:
            self.rows[name] = {"value": None, "goal": goal, "reason": missing.args[0]}
            return
        met = None if goal is None else (value <= goal if at_most else value >= goal)
        self.rows[name] = {"value": value, "goal": goal, "met": met}

    def _look_up(self, place: tuple[str, ...]) -> float:
        part, *path = place
        record = self._parts.get(part)
        if record is None:
            raise LookupError(f"{part}: not run")
        if record["status"] != "done":
            raise LookupError(f"{part}: {record['status']}: {record['reason']}")
        value: Any = record
        for key in path:
            value = value[key]
        if value is None:
            raise LookupError(f"{part}: {record['mfu_reason']}")
        return float(value)


def agreement(parts: Mapping[str, Figures]) -> dict[str, Figures]:
    """Whether compared arms computed the same: the largest difference of a log-probability, in nats."""
    done = {part: record for part, record in parts.items() if record["status"] == "done"}
    rows: dict[str, float] = {}
    if "scoring" in done:
        rows["scoring, padded"] = done["scoring"]["largest_difference_nats"]
    for method in ("lora", "full"):
        arms = [done[part]["chosen_nats_of_steps"] for part in (method, f"{method}_trl") if part in done]
        if len(arms) == 2:
            rows[f"{method}, {method}_trl"] = max(abs(a - b) for a, b in zip(*arms, strict=True))
    allowed = {name: TOLERANCE_NATS[done[name.split(",")[0]]["machine"]["size"]["dtype"]] for name in rows}
    return {
        name: {"largest_difference_nats": value, "at_most": allowed[name], "agreed": value <= allowed[name]}
        for name, value in rows.items()
    }


def document(parts: Mapping[str, Figures], settings: Mapping[str, Any]) -> Figures:
    """The JSON: machine and versions as the parts found them, what was run, figures, ratios."""
    machines = [record["machine"] for record in parts.values() if "machine" in record]
    figures = {part: {k: v for k, v in record.items() if k != "machine"} for part, record in parts.items()}
    return {
        "machine": machines[0] if machines else None,
        "settings": dict(settings),
        "ratios": ratios(parts),
        "agreement": agreement(parts),
        "parts": figures,
    }


def unpack(wheels: Path, folder: Path) -> None:
    """Unpack pure or ready-built wheels as an installer would, so that a path entry finds them."""
    found = sorted(wheels.glob("*.whl"))
    if not found:
        sys.exit(f"--wheels: got {wheels}, which has no *.whl: fill it with benchmarks/gpu_wheels.sh {wheels}")
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)  # wheels that we chose by version and hash


def environment(site: Path | None) -> dict[str, str]:
    """Environment of the parts: the project's packages, the unpacked wheels before the installed ones, no network."""
    path = [str(source) for source in SOURCES] + ([str(site)] if site else [])
    inherited = os.environ.get("PYTHONPATH")
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPATH": os.pathsep.join(path + ([inherited] if inherited else [])),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def print_result(result: Figures) -> None:
    """The ratios as a table, and which arms disagree."""
    for name, row in result["ratios"].items():
        value = f"{row['value']:.3f}" if row["value"] is not None else f"none: {row['reason']}"
        goal = "" if row.get("met") is None else f"  goal {row['goal']}: {'reached' if row['met'] else 'not reached'}"
        print(f"{name:<62}{value}{goal}")
    for name, row in result["agreement"].items():
        if not row["agreed"]:
            print(f"{name}: DISAGREE by {row['largest_difference_nats']:.3g} nats, expected at most {row['at_most']}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; 1 when a part was not done, or two arms computed different figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="a tiny shape on the CPU, in this process")
    parser.add_argument("--parts", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--wheels", type=Path, help="folder of wheels for what is not installed")
    parser.add_argument("--engine", choices=("DeepSpeed", "Torch"), help="of full: default DeepSpeed if installed")
    parser.add_argument("--full-layers", type=int, help="layers of full's model (default: 16, for the host's sake)")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of the whole run")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    given = parser.parse_args(arguments)
    settings = {"dry_run": given.dry_run, "engine": given.engine, "full_layers": given.full_layers}
    with tempfile.TemporaryDirectory() as folder:
        if given.wheels:
            unpack(given.wheels, Path(folder))
        environ = environment(Path(folder) if given.wheels else None)

        def run(part: str, seconds: float) -> Figures:
            if given.dry_run and not given.wheels:
                return in_process(part, seconds, settings)
            return in_child(part, seconds, settings, environ)

        def save(records: dict[str, Figures]) -> None:
            write(document(records, settings), given.output)

        complete = run_parts(given.parts, run, given.limit, save)
    result = json.loads(given.output.read_text())
    if given.dry_run:
        print("A dry run: that it runs is all it shows; its ratios are those of a tiny model on this CPU.")
    print_result(result)
    return 0 if complete and all(row["agreed"] for row in result["agreement"].values()) else 1


def write(result: Figures, path: Path) -> None:
    """Write the JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(result, indent=2) + "\n")
    unfinished.replace(path)


if __name__ == "__main__":
    sys.path[:0] = [str(source) for source in SOURCES]
    sys.exit(main())
