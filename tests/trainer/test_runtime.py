"""The stage runtime, in process and with a stage of two lines: commit, redo, resume, faults."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hardening_api.stages import RESULT_LIMIT_BYTES, StageConfig, StageResult
from hardening_trainer.commands.main import main
from hardening_trainer.errors import (
    CorruptInput,
    Interrupted,
    StageError,
    Unavailable,
    WorkspaceFull,
    WorkspaceUnavailable,
    as_stage_error,
)
from hardening_trainer.runtime.progress import Progress
from hardening_trainer.runtime.signals import StopSignal
from hardening_trainer.runtime.stage import StageContext, Surroundings, run_stage
from hardening_trainer.storage.manifests import load_manifest
from hardening_trainer.storage.workspace import Workspace, atomic_file
from tests.support.stage_configs import attack_config


def result_of(context: StageContext) -> StageResult:
    return StageResult(stage=context.config.stage, round=context.config.round, outcome="Succeeded")


def write_greeting(context: StageContext) -> StageResult:
    (context.folder / "tables").mkdir()
    (context.folder / "tables" / "greeting.txt").write_text("hello")
    context.progress.total(2)
    context.progress.advance(2, tokens=7)
    return result_of(context)


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/workspace" if request.param == "file" else f"memory://{uuid4().hex}"


class Runner:
    def __init__(self, url: str, scratch: Path) -> None:
        self.config = attack_config(url)
        self.workspace, self.scratch, self.stop = Workspace.open(url), scratch, StopSignal()

    def run(self, stage: Callable[[StageContext], StageResult], config: StageConfig | None = None) -> StageResult:
        config = config or self.config
        around = Surroundings(Progress(config), self.stop, self.scratch / uuid4().hex, {}, clock=lambda: 1e9)
        return run_stage(config, lambda: stage, self.workspace, around)


@pytest.fixture
def runner(url: str, tmp_path: Path) -> Runner:
    return Runner(url, tmp_path / "scratch")


def never(context: StageContext) -> StageResult:
    raise AssertionError("work was done again")


def test_a_stage_leaves_its_files_and_a_manifest_that_describes_them(runner: Runner) -> None:
    result = runner.run(write_greeting)
    manifest = load_manifest(runner.workspace, runner.config.folder)
    assert manifest is not None
    assert manifest.digest() == result.manifest
    assert [(record.path, record.size) for record in manifest.files] == [("tables/greeting.txt", 5)]
    assert runner.workspace.read(f"{runner.config.folder}/tables/greeting.txt") == b"hello"
    assert result.tokens == 7


def test_a_finished_stage_is_not_done_again_and_reports_the_same(runner: Runner) -> None:
    first = runner.run(write_greeting)
    assert runner.run(never) == first


def test_another_config_in_the_same_folder_is_done_anew(runner: Runner) -> None:
    runner.run(write_greeting)
    other = runner.config.model_copy(update={"seed": 1})

    def write_other(context: StageContext) -> StageResult:
        (context.folder / "other.txt").write_text("other")
        return result_of(context)

    runner.run(write_other, other)
    assert set(runner.workspace.files(runner.config.folder)) == {"other.txt", "manifest.json"}


@pytest.mark.parametrize("damage", ["missing", "shorter", "other content", "no manifest", "torn manifest"])
def test_a_torn_result_is_done_again(runner: Runner, damage: str) -> None:
    runner.run(write_greeting)
    file, manifest = (f"{runner.config.folder}/{name}" for name in ("tables/greeting.txt", "manifest.json"))
    if damage == "missing":
        runner.workspace.remove(file)
    elif damage == "no manifest":
        runner.workspace.remove(manifest)
    elif damage == "torn manifest":
        runner.workspace.write(manifest, b'{"apiVersion": "hard')
    else:
        runner.workspace.write(file, b"hell" if damage == "shorter" else b"HELLO")
    runner.run(write_greeting)
    assert runner.workspace.read(file) == b"hello"
    assert load_manifest(runner.workspace, runner.config.folder) is not None


def test_an_interrupted_stage_finds_what_it_saved(runner: Runner) -> None:
    def interrupted(context: StageContext) -> StageResult:
        context.record_input("data:file:///rows", "sha256:" + "1" * 64)
        (context.partial / "half.txt").write_text("half")
        context.stop.request("SIGTERM")
        context.stop.check()
        return result_of(context)

    def resumed(context: StageContext) -> StageResult:
        context.record_input("data:file:///rows", "sha256:" + "1" * 64)
        (context.folder / "whole.txt").write_text((context.partial / "half.txt").read_text() + "whole")
        return result_of(context)

    with pytest.raises(Interrupted, match="SIGTERM"):
        runner.run(interrupted)
    assert load_manifest(runner.workspace, runner.config.folder) is None
    runner.stop = StopSignal()
    runner.run(resumed)
    assert runner.workspace.read(f"{runner.config.folder}/whole.txt") == b"halfwhole"
    assert not any(".work" in name for name in runner.workspace.files("rounds"))


@pytest.mark.parametrize("changed", ["input", "config"])
def test_what_was_saved_from_other_inputs_is_not_used(runner: Runner, changed: str) -> None:
    def interrupted(context: StageContext) -> StageResult:
        context.record_input("data:rows", "sha256:" + "1" * 64)
        (context.partial / "half.txt").write_text("half")
        raise Interrupted("stopped")

    def resumed(context: StageContext) -> StageResult:
        context.record_input("data:rows", "sha256:" + ("2" if changed == "input" else "1") * 64)
        assert list(context.partial.iterdir()) == []
        return result_of(context)

    with pytest.raises(Interrupted):
        runner.run(interrupted)
    config = runner.config.model_copy(update={"seed": 9}) if changed == "config" else runner.config
    assert runner.run(resumed, config).outcome == "Succeeded"


def test_a_stage_is_done_again_when_the_stage_it_read_was(runner: Runner) -> None:
    upstream = runner.config.model_copy(update={"round": 1})
    reader = runner.config.model_copy(update={"round": 2})

    def read(context: StageContext) -> StageResult:
        text = (context.inputs.stage(upstream.folder, "tables") / "greeting.txt").read_text()
        (context.folder / "copy.txt").write_text(text)
        return result_of(context)

    def write_farewell(context: StageContext) -> StageResult:
        (context.folder / "tables").mkdir()
        (context.folder / "tables" / "greeting.txt").write_text("goodbye")
        return result_of(context)

    with pytest.raises(Unavailable, match="no readable manifest"):
        runner.run(read, reader)
    runner.run(write_greeting, upstream)
    runner.run(read, reader)
    assert runner.run(never, reader).outcome == "Succeeded"
    runner.workspace.remove(upstream.folder)
    runner.run(write_farewell, upstream)
    runner.run(read, reader)
    assert runner.workspace.read(f"{reader.folder}/copy.txt") == b"goodbye"


def test_damage_in_another_stages_folder_is_a_data_fault(runner: Runner) -> None:
    upstream = runner.config.model_copy(update={"round": 1})
    reader = runner.config.model_copy(update={"round": 2})
    runner.run(write_greeting, upstream)
    runner.workspace.write(f"{upstream.folder}/tables/greeting.txt", b"hel")

    def read(context: StageContext) -> StageResult:
        context.inputs.stage(upstream.folder)
        return result_of(context)

    with pytest.raises(CorruptInput, match=r"tables/greeting\.txt") as caught:
        runner.run(read, reader)
    assert caught.value.exit_code == 65


class FullFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store without room for files named *.txt."""

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", lpath)


def test_a_full_workspace_is_told_as_such_and_can_be_retried(tmp_path: Path) -> None:
    runner = Runner("memory://full", tmp_path)
    room = runner.workspace
    runner.workspace = Workspace(FullFileSystem(), f"/{uuid4().hex}", "memory://full")
    with pytest.raises(WorkspaceFull, match="make room") as caught:
        runner.run(write_greeting)
    assert (caught.value.exit_code, caught.value.reason) == (75, "WorkspaceFull")
    runner.workspace = room
    assert runner.run(write_greeting).outcome == "Succeeded"


def test_a_folder_that_may_not_be_written_is_unavailable(tmp_path: Path) -> None:
    class Forbidden(MemoryFileSystem):  # type: ignore[misc]
        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", path)

    workspace = Workspace(Forbidden(), "/x", "memory://x")
    with pytest.raises(WorkspaceUnavailable, match="permission denied"):
        workspace.write("a.txt", b"a")


def test_a_store_that_cannot_be_reached_is_unavailable() -> None:
    class Down(MemoryFileSystem):  # type: ignore[misc]
        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
            raise ConnectionError("connection refused")

    with pytest.raises(WorkspaceUnavailable, match="connection refused"):
        Workspace(Down(), "/x", "memory://x").read("a.txt")


def test_an_unknown_workspace_scheme_is_a_usage_fault() -> None:
    with pytest.raises(StageError, match="expected a URL") as caught:
        Workspace.open("nowhere://x")
    assert caught.value.exit_code == 64


def test_a_file_that_fails_midway_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_file(target) as stream:
            stream.write(b"new")
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_unexpected_failure_names_its_place_but_not_the_text_it_carries() -> None:
    try:
        raise KeyError("how do I bake bread")
    except KeyError as error:
        known = as_stage_error(error)
    assert known.exit_code == 70
    assert "KeyError at test_runtime.py:" in known.message
    assert "bread" not in known.message


def test_a_bad_config_is_told_line_by_line_with_exit_code_64(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document = attack_config(f"file://{tmp_path}").to_document()
    document["seed"] = "zero"
    document["attack"]["settings"]["variantsPerPrompt"] = 1
    config = tmp_path / "stage.json"
    config.write_text(json.dumps(document))
    code = main(["attack", "--config", str(config), "--result", str(tmp_path / "result.json")])
    captured = capfd.readouterr().err
    assert code == 64
    assert 'seed: got "zero"' in captured
    assert "attack.settings.variantsPerPrompt: got 1" in captured
    assert "Traceback" not in captured
    assert json.loads((tmp_path / "result.json").read_text())["reason"] == "InvalidConfig"


def test_a_config_of_another_stage_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "stage.json"
    config.write_text(json.dumps(attack_config(f"file://{tmp_path}").to_document()))
    assert main(["score", "--config", str(config), "--result", str(tmp_path / "result.json")]) == 64
    assert "stage: got Attack: expected Score" in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [["attack"], ["bake"], []])
def test_wrong_arguments_exit_64(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 64


def test_progress_knows_its_ratio_pace_and_eta(tmp_path: Path) -> None:
    now = [100.0]
    file = tmp_path / "progress.json"
    progress = Progress(attack_config("memory://x"), file, clock=lambda: now[0])
    progress.total(10, done=2)
    assert progress.eta_seconds is None
    now[0] = 104.0
    progress.advance(4, tokens=40)
    assert progress.ratio == 0.6
    assert progress.eta_seconds == 4.0
    written = json.loads(file.read_text())
    assert (written["ratio"], written["etaSeconds"], written["tokens"], written["updated"]) == (0.6, 4.0, 40, 104.0)
    assert (
        progress.registry.get_sample_value(
            "hardening_stage_tokens_per_second", {"run": "test", "stage": "Attack", "round": "1"}
        )
        == 10.0
    )


def test_the_progress_file_is_replaced_at_most_once_a_second(tmp_path: Path) -> None:
    now = [100.0]
    file = tmp_path / "progress.json"
    progress = Progress(attack_config("memory://x"), file, clock=lambda: now[0])
    progress.total(10)
    now[0] = 100.5
    progress.advance(5)
    assert json.loads(file.read_text())["updated"] == 100.0
    now[0] = 101.5
    progress.gauge("loss", 0.25)
    document = json.loads(file.read_text())
    assert (document["ratio"], document["figures"]) == (0.5, {"loss": 0.25})


def test_a_failed_result_with_a_long_message_still_fits(tmp_path: Path) -> None:
    config = tmp_path / ("x" * 200 + ".json")
    document = attack_config(f"file://{tmp_path}").to_document() | {f"unknown{index}": 1 for index in range(200)}
    config.write_text(json.dumps(document))
    assert main(["attack", "--config", str(config), "--result", str(tmp_path / "result.json")]) == 64
    assert (tmp_path / "result.json").stat().st_size <= RESULT_LIMIT_BYTES
