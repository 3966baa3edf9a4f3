"""`benchmarks/gpu.py` on a CPU: the JSON it writes, and what becomes of a part that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu

SETTINGS = {"dry_run": True, "engine": None, "full_layers": None}


def dry_run(output: Path, *parts: str) -> tuple[int, dict[str, Any]]:
    code = gpu.main(["--dry-run", "--output", str(output), *(["--parts", *parts] if parts else [])])
    return code, json.loads(output.read_text())


@pytest.mark.slow
def test_a_dry_run_does_every_part_and_compares_figures_of_the_same_run(tmp_path: Path) -> None:
    code, result = dry_run(tmp_path / "gpu.json")
    parts, ratios = result["parts"], result["ratios"]
    assert {name: record["status"] for name, record in parts.items()} == dict.fromkeys(gpu.BUDGETS, "done")
    assert code == 0
    scoring = parts["scoring"]
    share = scoring["default pass"]["tokens_per_second"] / scoring["forward"]["tokens_per_second"]
    assert ratios["scoring, default pass: share of a plain forward"]["value"] == share
    times = parts["lora_trl"]["seconds_per_step"] / parts["lora"]["seconds_per_step"]
    assert ratios["lora: times TRL's step"] == {"value": times, "goal": 1.5, "met": times >= 1.5}
    memory = parts["full"]["peak_bytes"] / parts["full_trl"]["peak_bytes"]
    assert ratios["full: peak memory, of TRL's"] == {"value": memory, "goal": 0.7, "met": memory <= 0.7}
    assert (parts["lora"]["layers"], parts["full"]["layers"]) == (2, 1)
    assert ratios["lora: MFU"]["value"] is None
    assert "no bfloat16 peak is known for a CPU" in ratios["lora: MFU"]["reason"]
    assert set(result["agreement"]) == {"scoring, padded", "lora, lora_trl", "full, full_trl"}
    assert all(row["agreed"] for row in result["agreement"].values())
    assert result["machine"]["versions"]["torch"]
    assert result["settings"] == SETTINGS


def test_a_part_that_fails_is_recorded_and_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.one_gpu import part as parts

    def out_of_memory(_: Any) -> dict[str, Any]:
        raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setitem(parts.PARTS, "sampling", out_of_memory)
    code, result = dry_run(tmp_path / "gpu.json", "sampling", "scoring")
    assert code == 1
    assert result["parts"]["sampling"]["status"] == "failed"
    assert result["parts"]["sampling"]["reason"] == "RuntimeError: CUDA out of memory."
    assert result["parts"]["scoring"]["status"] == "done"
    reason = result["ratios"]["sampling, default batch: times generate"]["reason"]
    assert reason == "sampling: failed: RuntimeError: CUDA out of memory."
    assert result["ratios"]["lora: times TRL's step"]["reason"] == "lora_trl: not run"


def test_a_part_whose_package_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.one_gpu import part as parts

    for name in [name for name in sys.modules if name.partition(".")[0] in ("trl", "hardening_trainer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "benchmarks.one_gpu.dpo", raising=False)
    monkeypatch.delattr("benchmarks.one_gpu.dpo", raising=False)
    monkeypatch.setitem(sys.modules, "trl", None)
    record = parts.record("lora", SETTINGS)
    assert record == {"status": "skipped", "reason": "trl is not installed: carry its wheel with --wheels"}


def test_a_module_missing_from_a_package_that_is_there_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.one_gpu import part as parts

    monkeypatch.setitem(parts.PARTS, "scoring", lambda _: __import__("hardening_trainer.nowhere"))
    record = parts.record("scoring", SETTINGS)
    assert record["status"] == "failed"
    assert "hardening_trainer.nowhere" in record["reason"]


def test_the_records_so_far_are_saved_after_each_part() -> None:
    saved: list[list[str]] = []
    gpu.run_parts(
        ["scoring", "sampling"], lambda *_: {"status": "done"}, 300.0, lambda records: saved.append([*records])
    )
    assert saved == [["scoring"], ["scoring", "sampling"]]


def test_a_part_may_use_what_earlier_ones_left_but_not_what_later_ones_need() -> None:
    allowed: dict[str, float] = {}

    def run(part: str, seconds: float) -> dict[str, Any]:
        allowed[part] = seconds
        return {"status": "done"}

    assert gpu.run_parts(["full", "full_trl"], run, 300.0, lambda _: None)
    assert allowed["full"] == pytest.approx(300 - gpu.BUDGETS["full_trl"], abs=1)
    assert allowed["full_trl"] == pytest.approx(300, abs=1)


def test_a_part_that_no_time_is_left_for_is_skipped() -> None:
    records: dict[str, Any] = {}
    assert not gpu.run_parts(["scoring"], lambda *_: {"status": "done"}, 0.0, records.update)
    assert records["scoring"]["status"] == "skipped"
    assert records["scoring"]["reason"] == "none of the run's 0 s were left for it"


def test_a_process_out_of_time_is_ended() -> None:
    record = gpu.in_child("scoring", 0.1, SETTINGS, gpu.environment(None))
    assert record["status"] == "out of time"


def test_a_process_that_the_kernel_kills_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    record = gpu.in_child("scoring", 60, SETTINGS, {**os.environ, "PYTHONPATH": str(tmp_path)})
    assert record["status"] == "failed"
    assert "killed" in record["reason"]


def test_wheels_are_unpacked_and_come_before_what_is_installed(tmp_path: Path) -> None:
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "yaml-99-py3-none-any.whl", "w") as wheel:
        wheel.writestr("yaml/__init__.py", "print('carried')")
    gpu.unpack(wheels, site)
    command = [sys.executable, "-c", "import yaml"]
    done = subprocess.run(command, env=gpu.environment(site), capture_output=True, text=True, check=True)
    assert done.stdout == "carried\n"


def test_an_empty_folder_of_wheels_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no \*\.whl: fill it with benchmarks/gpu_wheels\.sh"):
        gpu.unpack(tmp_path, tmp_path / "site")


def test_arms_that_computed_different_figures_are_named() -> None:
    machine = {"size": {"dtype": "bfloat16"}}
    arms = {
        "lora": {"status": "done", "chosen_nats_of_steps": [-100.0, -90.0], "machine": machine},
        "lora_trl": {"status": "done", "chosen_nats_of_steps": [-100.5, -93.0], "machine": machine},
    }
    assert gpu.agreement(arms) == {"lora, lora_trl": {"largest_difference_nats": 3.0, "at_most": 2.0, "agreed": False}}
