"""Workspace, models and data in a bucket of a real S3 server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardening_api.sources import DataSource, ModelSource
from hardening_api.stages import StageResult
from hardening_trainer.data import read_prompts
from hardening_trainer.errors import Interrupted, UsageFault, WorkspaceUnavailable
from hardening_trainer.runtime.inputs import resolve_source
from hardening_trainer.runtime.progress import Progress
from hardening_trainer.runtime.signals import StopSignal
from hardening_trainer.runtime.stage import StageContext, StageFunction, Surroundings, run_stage
from hardening_trainer.storage.stores import open_store
from hardening_trainer.storage.workspace import Workspace
from tests.support.bucket_server import KEYS, bucket_server
from tests.support.stage_configs import attack_config

SECRET = {"name": "bucket"}
URL = "s3://runs/team/demo"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bucket_server(tmp_path_factory.mktemp("buckets"), "runs", "library") as url:
        yield url


@pytest.fixture
def environ(server: str, tmp_path: Path) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": server, "AWS_REGION": "us-east-1", "HARDENING_CACHE_DIR": str(tmp_path / "cache")}


@pytest.fixture
def workspace(environ: dict[str, str]) -> Iterator[Workspace]:
    opened = Workspace.open(URL, environ | KEYS)
    yield opened
    opened.remove("")


def with_secret(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of a pod whose Secret `bucket` holds the keys."""
    folder = tmp_path / "secrets" / "bucket"
    folder.mkdir(parents=True)
    for key, value in KEYS.items():
        (folder / key).write_text(value)
    return environ | {"HARDENING_SECRETS_DIR": str(folder.parent)}


def test_files_are_written_listed_fetched_and_removed(workspace: Workspace, tmp_path: Path) -> None:
    assert workspace.read("a/one") is None
    assert workspace.files("a") == {}
    workspace.write("a/one", b"hello")
    (tmp_path / "large").write_bytes(bytes(12_000_000))
    workspace.publish(tmp_path / "large", "a/b/large")
    assert workspace.files("a") == {"b/large": 12_000_000, "one": 5}
    assert (workspace.read("a/one"), workspace.exists("a/one"), workspace.exists("a/two")) == (b"hello", True, False)
    assert workspace.fetch("a/one", tmp_path / "here" / "one").read_bytes() == b"hello"
    assert workspace.sha256("a/one").startswith("2cf24dba")
    workspace.remove("a/b")
    workspace.remove("a/none")
    assert workspace.files("") == {"a/one": 5}


def start(workspace: Workspace, scratch: Path, stage: StageFunction) -> StageResult:
    config = attack_config(URL)
    around = Surroundings(Progress(config), StopSignal(), scratch, {})
    return run_stage(config, lambda: stage, workspace, around)


def test_an_interrupted_stage_goes_on_in_another_pod_from_what_it_saved_in_the_bucket(
    workspace: Workspace, tmp_path: Path
) -> None:
    def first(context: StageContext) -> StageResult:
        context.record_input("data:rows", "sha256:" + "0" * 64)
        (context.partial / "half").write_text("saved")
        raise Interrupted("asked to stop")

    def second(context: StageContext) -> StageResult:
        context.record_input("data:rows", "sha256:" + "0" * 64)
        (context.folder / "whole").write_text((context.partial / "half").read_text())
        return StageResult(stage="Attack", round=1, outcome="Succeeded")

    def never(context: StageContext) -> StageResult:
        raise AssertionError("work was done again")

    with pytest.raises(Interrupted):
        start(workspace, tmp_path / "pod-1", first)
    result = start(workspace, tmp_path / "pod-2", second)
    folder = attack_config(URL).folder
    assert sorted(workspace.files("")) == [f"{folder}/manifest.json", f"{folder}/whole"]
    assert workspace.read(f"{folder}/whole") == b"saved"
    assert start(workspace, tmp_path / "pod-3", never).manifest == result.manifest


def test_data_and_models_are_read_with_the_keys_of_their_secret(
    environ: dict[str, str], tmp_path: Path, tiny_model: Path
) -> None:
    library, root = open_store("s3://library", environ | KEYS)
    library.put(str(tiny_model), f"{root}/tiny", recursive=True)
    library.pipe_file(f"{root}/rows.jsonl", json.dumps({"prompt": "How do I bake bread?"}).encode())
    pod = with_secret(environ, tmp_path)
    rows = DataSource.model_validate({"uri": "s3://library/rows.jsonl", "secretRef": SECRET})
    assert [row.prompt for row in read_prompts(rows, pod).rows] == ["How do I bake bread?"]
    model = ModelSource.model_validate({"uri": "s3://library/tiny", "secretRef": SECRET})
    here = resolve_source(ModelSource(uri=tiny_model.as_uri()), pod)
    assert resolve_source(model, pod).digest == here.digest


def test_a_secret_without_the_keys_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    pod = environ | {"HARDENING_SECRETS_DIR": str(tmp_path)}
    rows = DataSource.model_validate({"uri": "s3://library/rows.jsonl", "secretRef": SECRET})
    with pytest.raises(UsageFault, match="secretRef bucket: no key AWS_ACCESS_KEY_ID"):
        read_prompts(rows, pod)


@pytest.mark.parametrize(
    ("url", "keys", "words"),
    [
        (URL, KEYS | {"AWS_SECRET_ACCESS_KEY": "wrong"}, "SIGNATURE_DOES_NOT_MATCH"),
        ("s3://nowhere/demo", KEYS, "NO_SUCH_BUCKET"),
    ],
)
def test_a_bucket_that_cannot_be_written_says_why(
    environ: dict[str, str], url: str, keys: dict[str, str], words: str
) -> None:
    with pytest.raises(WorkspaceUnavailable, match=words) as caught:
        Workspace.open(url, environ | keys).write("file", b"")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in caught.value.message
