"""What a local run refuses before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from hardening_api.run import HardeningRun
from hardening_operator.local.home import Home, HomeError
from hardening_operator.local.preflight import check, resolve_relative_uris


def run_of(tmp_path: Path, **spec: Any) -> HardeningRun:
    for name in ("model", "rows.jsonl"):
        (tmp_path / name).touch()
    rows = {"uri": "file://./rows.jsonl"}
    document = {
        "apiVersion": "hardening.dev/v1alpha1",
        "kind": "HardeningRun",
        "metadata": {"name": "tiny"},
        "spec": {
            "model": {"uri": "file://./model"},
            "data": {"preferences": rows, "evaluation": {"harmful": rows}},
            **spec,
        },
    }
    return HardeningRun.model_validate(resolve_relative_uris(document, tmp_path))


def test_relative_files_are_found_beside_the_manifest(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert run.spec.model.uri == f"file://{tmp_path}/model"
    check(run, {})


def test_a_file_that_does_not_exist_is_named_with_its_field(tmp_path: Path) -> None:
    run = run_of(tmp_path, model={"uri": "file://./absent"})
    with pytest.raises(HomeError, match=r"spec\.model\.uri: got file:///.*absent: expected a file or folder"):
        check(run, {})


def test_a_target_that_cannot_be_written_is_refused_and_a_bucket_is_not(tmp_path: Path) -> None:
    targets = [{"type": "MLflow", "trackingUri": "http://localhost:5000", "registeredModel": "m"}]
    run = run_of(tmp_path, promotion={"targets": targets})
    with pytest.raises(HomeError, match=r"spec\.promotion\.targets\[0\]\.type: got MLflow: expected Workspace or S3"):
        check(run, {})
    check(run_of(tmp_path, promotion={"targets": [{}, {"type": "S3", "uri": "s3://bucket/models"}]}), {})


def test_a_secret_that_is_not_set_is_named_and_one_that_is_passes(tmp_path: Path) -> None:
    run = run_of(tmp_path, model={"uri": "hf://org/name", "secretRef": {"name": "hf-token"}})
    with pytest.raises(HomeError, match=r"spec\.model\.secretRef: got hf-token: .*HARDENING_SECRET_HF_TOKEN_<KEY>"):
        check(run, {})
    check(run, {"HARDENING_SECRET_HF_TOKEN_TOKEN": "x"})


def test_one_runner_at_a_time_works_on_a_run(tmp_path: Path) -> None:
    with Home(tmp_path).locked(), pytest.raises(HomeError, match="another `hardening run` works on it"):  # noqa: SIM117
        with Home(tmp_path).locked():
            pass


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"got no run\.json"):
        Home(tmp_path).load_run()
