"""Every object is one the Kubernetes API knows, field by field, and none of them holds a secret or a row of data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.models.v1_config_map import V1ConfigMap
from kubernetes.client.models.v1_job import V1Job
from kubernetes.client.models.v1_network_policy import V1NetworkPolicy
from kubernetes.client.models.v1_persistent_volume_claim import V1PersistentVolumeClaim
from kubernetes.client.models.v1_service import V1Service
from pydantic import BaseModel, ValidationError

from hardening_api.status import StageName
from hardening_operator.resources import run_objects
from tests.operator.resources.made import ALL_STAGES, SETTINGS, child, children, run_of
from tests.operator.resources.test_needs import SECRETIVE
from tests.operator.resources.test_pods import ALL
from tests.operator.resources.test_workspace import BUCKET

MODELS: dict[str, type[BaseModel]] = {
    "ConfigMap": V1ConfigMap,
    "Job": V1Job,
    "NetworkPolicy": V1NetworkPolicy,
    "PersistentVolumeClaim": V1PersistentVolumeClaim,
    "Service": V1Service,
}
API_VERSIONS = {"Job": "batch/v1", "NetworkPolicy": "networking.k8s.io/v1"}
EVERYTHING: dict[str, Any] = {
    **SECRETIVE,
    "stages": {"all": ALL},
    "training": {"nodes": 2},
    "activeDeadlineSeconds": 7200,
    "ttlSecondsAfterFinished": 3600,
}
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": EVERYTHING,
    "bucket": {**SECRETIVE, "workspace": BUCKET},
    "many shards": {"stages": {"all": {"shards": 256}}},
}


def all_of(run_fields: dict[str, Any]) -> list[dict[str, Any]]:
    run = run_of(labels={"kueue.x-k8s.io/queue-name": "gpu"}, **run_fields)
    made = run_objects(run, SETTINGS)
    for round_number, stage in ALL_STAGES:
        made += children(run, round_number, stage)
    return made


def known(document: dict[str, Any]) -> Any:
    """The object as the generated client has it; it refuses fields that its OpenAPI document does not have."""
    return MODELS[document["kind"]].model_validate(document)


@pytest.mark.parametrize("name", RUNS)
def test_the_kubernetes_api_knows_every_field_that_is_set(name: str) -> None:
    for document in all_of(RUNS[name]):
        found = known(document)
        assert json.loads(found.to_json()) == document
        assert document["apiVersion"] == API_VERSIONS.get(document["kind"], "v1")


@pytest.mark.parametrize(
    ("place", "field"),
    [
        (("spec",), "podFailurePolice"),
        (("spec", "template", "spec"), "nodeSelectors"),
        (("spec", "template", "spec", "containers", 0), "securityContent"),
        (("spec", "template", "spec", "volumes", 0, "configMap"), "named"),
    ],
)
def test_a_misspelt_field_does_not_pass(place: tuple[str | int, ...], field: str) -> None:
    job = child(children(run_of(), 1, "Attack"), "Job")
    part: Any = job
    for step in place:
        part = part[step]
    part[field] = {}
    with pytest.raises(ValidationError, match=field):
        known(job)


@pytest.mark.parametrize(("round_number", "stage"), ALL_STAGES)
def test_no_object_holds_a_secret_or_a_row_of_data(
    round_number: int, stage: StageName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a-row-of-data"}))
    monkeypatch.setenv("HARDENING_SECRET_BUCKET_AWS_SECRET_ACCESS_KEY", "a-secret")
    data = {"preferences": {"uri": f"{tmp_path.as_uri()}/pairs.jsonl"}, "evaluation": SECRETIVE["data"]["evaluation"]}
    run = run_of(**SECRETIVE | {"data": data, "workspace": BUCKET})
    made = [*run_objects(run, SETTINGS), *children(run, round_number, stage)]
    assert "Secret" not in {entry["kind"] for entry in made}
    text = json.dumps(made)
    assert "a-row-of-data" not in text
    assert "a-secret" not in text
