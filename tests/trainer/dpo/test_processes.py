"""Trainings in processes of their own: DeepSpeed's ZeRO, torchrun, being stopped, and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from hardening_api.training import DeepSpeed
from hardening_trainer.dpo.job import Exchange, Outcome, TrainingFailure
from hardening_trainer.dpo.launch import launch
from hardening_trainer.dpo.training import train
from hardening_trainer.errors import StageError
from tests.support.ranks import run_ranks
from tests.trainer.dpo.conftest import MakeJob, Recorder

SETTINGS: dict[str, Any] = {"epochs": 2, "checkpoint_steps": 100}


def deepspeed(stage: int, world: int) -> dict[str, Any]:
    """Settings whose optimizer steps see the same four pairs, whatever the number of processes."""
    zero = DeepSpeed(zero_stage=stage)
    return {
        **SETTINGS,
        "engine": "DeepSpeed",
        "deepspeed": zero,
        "processes_per_node": world,
        "batch_size": 4 // world,
    }


def parameters(folder: str) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())


def finish(folder: Path) -> tuple[Outcome, Recorder]:
    exchange, recorder = Exchange(folder), Recorder()
    assert exchange.failure() is None
    outcome = exchange.outcome()
    assert outcome is not None
    exchange.pass_on(recorder)
    return outcome, recorder


def processes_naming(text: str) -> list[str]:
    """Command lines of live processes that hold `text`."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_text().replace("\0", " "))
        except OSError:
            continue
    return [line for line in lines if text in line]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Full", "LoRA"])
@pytest.mark.parametrize(("stage", "world"), [(2, 1), (2, 2), (3, 1), (3, 2)])
def test_zero_gives_the_losses_and_the_model_of_plain_pytorch(
    make_job: MakeJob, tmp_path: Path, stage: int, world: int, method: str
) -> None:
    if method == "LoRA" and (stage, world) != (3, 2):
        pytest.skip("adapters are gathered and merged in one way; the hardest case stands for all")
    plain = Recorder()
    expected = make_job("plain", method=method, **SETTINGS)
    train(expected, plain, lambda: False)
    job = make_job("zero", method=method, **deepspeed(stage, world))
    Exchange(tmp_path / "exchange").give_job(job)
    assert run_ranks(tmp_path / "exchange", world) == [0] * world
    outcome, recorder = finish(tmp_path / "exchange")
    assert outcome.figures.steps == 4
    assert recorder.losses == pytest.approx(plain.losses, abs=1e-4)
    ours, theirs = parameters(job.output), parameters(expected.output)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_torchrun_is_stopped_gently_leaves_nothing_behind_and_the_next_attempt_ends_the_same(
    make_job: MakeJob, tmp_path: Path
) -> None:
    plain = Recorder()
    expected = make_job("plain", **SETTINGS)
    train(expected, plain, lambda: False)
    job = make_job("zero", **deepspeed(2, 2))
    first = Recorder()
    with pytest.raises(StageError, match="stopped after step 1") as caught:
        launch(job, tmp_path / "first", first, lambda: True, os.environ)  # asked before the first step has ended
    assert (caught.value.reason, caught.value.exit_code) == ("Interrupted", 75)
    assert processes_naming(str(tmp_path / "first")) == []
    done = len(first.steps)
    assert done == 1
    Exchange(tmp_path / "second").give_job(job)
    assert run_ranks(tmp_path / "second", 2) == [0, 0]
    outcome, second = finish(tmp_path / "second")
    assert second.plan == (4, done)
    assert first.losses + second.losses == pytest.approx(plain.losses, abs=1e-4)
    assert outcome.figures.steps == 4
    ours, theirs = parameters(job.output), parameters(expected.output)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-4, rtol=0)


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    child = (
        "import pathlib, sys, time; from hardening_trainer.dpo.launch import die_with_parent; die_with_parent();"
        "pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, sys.argv[1]])"
    started = subprocess.Popen([sys.executable, "-c", parent, str(mark)])
    assert eventually(mark.exists)
    assert len(processes_naming(str(mark))) == 2
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert eventually(lambda: processes_naming(str(mark)) == [])


def test_the_first_failure_is_the_one_reported_and_half_a_line_waits(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path)
    exchange.leave_failure(1, TrainingFailure(exit_code=65, reason="TrainingDiverged", message="step 3"))
    os.utime(tmp_path / "failure-1.json", (1, 1))
    exchange.leave_failure(0, TrainingFailure(exit_code=70, reason="StageFailed", message="lost a peer"))
    first = exchange.failure()
    assert first is not None
    assert first.reason == "TrainingDiverged"
    recorder = Recorder()
    exchange.append("planned", 4, 1)
    with (tmp_path / "progress.jsonl").open("a") as stream:
        stream.write('["stepped", 10, {"lo')
    exchange.pass_on(recorder)
    assert (recorder.plan, recorder.steps) == ((4, 1), [])
    with (tmp_path / "progress.jsonl").open("a") as stream:
        stream.write('ss": 0.5}]\n')
    exchange.pass_on(recorder)
    assert recorder.losses == [0.5]


def eventually(condition: Any, seconds: float = 30.0) -> bool:
    """Whether `condition` comes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False
