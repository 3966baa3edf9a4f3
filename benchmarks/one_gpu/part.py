"""`python -m benchmarks.one_gpu.part PART SETTINGS RECORD`: one part of `benchmarks/gpu.py`, run alone."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.one_gpu.bench import DRY, GPU, Bench, Skipped, machine


def _scoring(bench: Bench) -> dict[str, Any]:
    from benchmarks.one_gpu.inference import scoring  # noqa: PLC0415

    return scoring(bench)


def _sampling(bench: Bench) -> dict[str, Any]:
    from benchmarks.one_gpu.inference import sampling  # noqa: PLC0415

    return sampling(bench)


def _dpo(bench: Bench, method: str, stock: bool) -> dict[str, Any]:
    from benchmarks.one_gpu.dpo import steps  # noqa: PLC0415  # TRL and datasets, which a device may lack

    if method == "Full":
        shape = {**bench.size.shape, "num_hidden_layers": bench.size.full_layers}
        bench = Bench(replace(bench.size, shape=shape), bench.engine)
    return steps(bench, method, stock)


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "scoring": _scoring,
    "sampling": _sampling,
    "lora": lambda bench: _dpo(bench, "LoRA", stock=False),
    "lora_trl": lambda bench: _dpo(bench, "LoRA", stock=True),
    "full": lambda bench: _dpo(bench, "Full", stock=False),
    "full_trl": lambda bench: _dpo(bench, "Full", stock=True),
}
"""Each imports what it needs only when it runs, so that a missing package leaves out no other part."""


def record(part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A part's figures under `status` done, or why there are none."""
    try:
        size = DRY if settings["dry_run"] else GPU
        if settings["full_layers"] is not None:
            size = replace(size, full_layers=settings["full_layers"])
        bench = Bench(size, settings["engine"])
        done: dict[str, Any] = {"status": "done", "machine": machine(bench.size), **PARTS[part](bench)}
        return done
    except Skipped as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        package = _missing_package(error)
        if package is not None:
            return {"status": "skipped", "reason": f"{package} is not installed: carry its wheel with --wheels"}
        lines = str(error).strip().splitlines() or [""]
        return {"status": "failed", "reason": f"{type(error).__name__}: {lines[0]}"[:500]}


def _missing_package(error: Exception) -> str | None:
    """The package an import failed for, if it is not there at all; a missing module of one that is there is a fault."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    package = error.name.partition(".")[0]
    return package if importlib.util.find_spec(package) is None else None


def main(part: str, settings: str, path: str) -> int:
    """Run one part and leave its record."""
    figures = record(part, json.loads(settings))
    answer = Path(path)
    with tempfile.NamedTemporaryFile("w", dir=answer.parent, delete=False) as unfinished:
        json.dump(figures, unfinished)
    Path(unfinished.name).replace(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
