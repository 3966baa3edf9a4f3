"""How many threads a stage gets, and each of its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hardening_api.run import HardeningRun
from hardening_api.stages import StageConfig
from hardening_operator.local.cores import Cores, busy_between, busy_cores, usable_cores
from hardening_operator.local.home import Home
from hardening_operator.local.processes import Processes
from hardening_operator.local.runner import Runner, Stopped
from hardening_operator.planner.types import Event

SOURCE = {"uri": "file:///data/rows.jsonl"}
MANIFEST = {
    "apiVersion": "hardening.dev/v1alpha1",
    "kind": "HardeningRun",
    "metadata": {"name": "plain"},
    "spec": {
        "model": {"uri": "file:///models/plain"},
        "data": {"preferences": SOURCE, "evaluation": {"harmful": SOURCE, "benign": SOURCE}},
    },
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAT = """cpu  300 0 100 1000 20 0 0 0 0 0
cpu0 100 0 50 600 10 0 0 0 0 0
cpu1 200 0 50 400 10 0 0 0 0 0
intr 12345
"""
"""/proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice."""
LATER = """cpu  420 0 120 1030 50 0 0 10 0 0
cpu0 190 0 50 610 10 0 0 0 0 0
cpu1 230 0 70 420 40 0 0 10 0 0
intr 23456
"""


class Recorded(Processes):
    """Starts nothing, and says with how many threads each stage would have started."""

    def __init__(self, environment: dict[str, str], load: Callable[[], float]) -> None:
        super().__init__(environment, load)
        self.threads: list[int] = []

    def start(self, folder: Path, config: StageConfig, threads: int, now: datetime) -> None:
        self.threads.append(threads)


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def update(self, *_: object) -> None:
        pass

    def event(self, event: Event) -> None:
        self.events.append(event)


def first_stage(folder: Path, processes: Processes) -> list[Event]:
    """Drive a run until its first stage has started, and return the events."""
    run, heard, turns = HardeningRun.model_validate(MANIFEST), Heard(), iter((False, True))
    home = Home(folder)
    home.folder.mkdir(exist_ok=True)
    with pytest.raises(Stopped):
        Runner(home, run, f"file://{folder}", processes, heard).drive(lambda: NOW, lambda _: None, lambda: next(turns))
    return heard.events


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity to set")
def test_a_core_that_the_process_may_not_use_is_not_counted() -> None:
    allowed = os.sched_getaffinity(0)
    program = (
        f"import os; os.sched_setaffinity(0, [{min(allowed)}]);"
        "from hardening_operator.local.cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (int(done.stdout), usable_cores()) == (1, len(allowed))


def test_busy_cores_are_counted_between_two_readings() -> None:
    # Core 0: 90 of 100 ticks. Core 1: 100 ticks, 20 idle and 30 waiting for a disk; stolen ones are busy.
    assert busy_between(STAT, LATER, [0]) == pytest.approx(0.9)
    assert busy_between(STAT, LATER, [1]) == pytest.approx((30 + 20 + 10) / 110)
    assert busy_between(STAT, LATER, [0, 1, 7]) == pytest.approx(0.9 + 60 / 110)
    assert busy_between(STAT, STAT, [0, 1]) == 0


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
def test_the_machine_itself_says_how_busy_it_is() -> None:
    assert 0 <= busy_cores() <= usable_cores()


@pytest.mark.parametrize(
    ("usable", "busy", "processes", "threads"),
    [(8, 0.0, 1, 8), (8, 0.4, 1, 8), (8, 2.6, 1, 5), (8, 4.0, 2, 2), (2, 1.0, 2, 1), (2, 2.0, 1, 1), (4, 9.0, 1, 1)],
)
def test_free_cores_are_shared_out_and_every_process_has_a_thread(
    usable: int, busy: float, processes: int, threads: int
) -> None:
    assert Cores(usable, busy).threads(processes) == threads


def test_a_stage_leaves_busy_cores_alone_and_the_user_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardening_operator.local.cores.usable_cores", lambda: 8)
    processes = Recorded({}, load=lambda: 3.2)
    events = first_stage(tmp_path, processes)
    assert processes.threads == [5]
    [busy] = [event for event in events if event.reason == "CoresBusy"]
    assert busy.message.startswith("other work keeps 3.2 of 8 cores busy: computing on 5")


def test_on_an_idle_machine_a_stage_has_all_cores_and_nothing_is_said(tmp_path: Path) -> None:
    processes = Recorded({}, load=lambda: 0.2)
    events = first_stage(tmp_path, processes)
    assert processes.threads == [usable_cores()]
    assert "CoresBusy" not in {event.reason for event in events}


def test_where_the_user_set_the_threads_no_load_is_read(tmp_path: Path) -> None:
    def unread() -> float:
        raise AssertionError("the load was read")

    events = first_stage(tmp_path, Recorded({"OMP_NUM_THREADS": "1"}, load=unread))
    assert "CoresBusy" not in {event.reason for event in events}


def test_a_stages_process_keeps_the_threads_the_user_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    class Started:
        pid = os.getpid()

        def __init__(self, *_: object, env: dict[str, str], **__: object) -> None:
            seen.append(env)

    monkeypatch.setattr(subprocess, "Popen", Started)
    for environment in ({}, {"OMP_NUM_THREADS": "3"}):
        config = StageConfig.model_construct(stage="Attack")
        monkeypatch.setattr(StageConfig, "to_document", lambda _: {})
        Processes(environment).start(tmp_path, config, 5, NOW)
    assert [env["OMP_NUM_THREADS"] for env in seen] == ["5", "3"]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system shows no environment of a process")
@pytest.mark.parametrize(
    ("processes", "set_by_user", "expected"),
    [(1, {}, "6"), (2, {}, "3"), (8, {}, "1"), (2, {"OMP_NUM_THREADS": "5"}, "5")],
)
def test_the_processes_of_a_training_share_the_threads_of_their_stage(
    tmp_path: Path, processes: int, set_by_user: dict[str, str], expected: str
) -> None:
    weights = {"source": {"uri": "file:///nowhere"}}
    document = {
        "run": {"namespace": "here", "name": "demo", "uid": "0", "specDigest": "sha256:" + "0" * 64},
        "stage": "TrainDefender",
        "round": 1,
        "seed": 1,
        "workspace": tmp_path.as_uri(),
        "train": {
            "role": "defender",
            "initial": weights,
            "pairs": ["rounds/1/score/shard-0-of-1"],
            "training": {"gpusPerNode": 0, "processesPerNode": processes},
        },
    }
    stage_processes = Processes(set_by_user)
    stage_processes.start(tmp_path, StageConfig.model_validate(document), 6, NOW)
    try:
        pid = json.loads((tmp_path / "process.json").read_text())["pid"]
        variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
        assert [line for line in variables if line.startswith("OMP_")] == [f"OMP_NUM_THREADS={expected}"]
    finally:
        stage_processes.terminate(tmp_path, signal.SIGKILL)
