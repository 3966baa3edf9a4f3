"""The workspace: a claim made or given, on one node where it must be, or a bucket."""

from __future__ import annotations

from typing import Any

import pytest

from hardening_api.run import HardeningRun
from hardening_operator.resources import run_objects, workspace_url
from hardening_operator.settings import OperatorSettings
from tests.operator.resources.made import SETTINGS, container_of, environ_of, job_of, pod_of, run_of

BUCKET = {"s3": {"uri": "s3://runs/team/", "endpointUrl": "http://minio.storage:9000", "secretRef": {"name": "bucket"}}}


def claim(**fields: Any) -> HardeningRun:
    return run_of(workspace={"persistentVolumeClaim": fields})


def mount(run: HardeningRun) -> list[dict[str, Any]]:
    return [volume for volume in pod_of(run, 1, "Attack")["volumes"] if "persistentVolumeClaim" in volume]


def test_a_run_that_names_no_workspace_gets_the_operators_claim() -> None:
    settings = OperatorSettings(
        trainer_image="t", workspace_size="20Gi", workspace_storage_class="fast", workspace_access_mode="ReadWriteMany"
    )
    [made] = run_objects(run_of(), settings)
    assert made["metadata"]["name"] == "demo-workspace"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-of-demo"
    assert made["metadata"]["labels"]["hardening.dev/run"] == "demo"
    assert made["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "20Gi"}},
        "storageClassName": "fast",
    }
    assert workspace_url(run_of()) == "file:///workspace"


def test_a_claim_is_made_as_the_run_describes_it() -> None:
    [made] = run_objects(claim(size=1000, accessMode="ReadWriteOnce"), SETTINGS)
    assert made["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1000"}}}
    assert mount(claim(size="1Gi")) == [
        {"name": "hardening-workspace", "persistentVolumeClaim": {"claimName": "demo-workspace"}}
    ]


def test_in_a_given_claim_a_run_has_a_folder_and_nothing_is_made() -> None:
    run = claim(claimName="shared")
    assert run_objects(run, SETTINGS) == []
    assert workspace_url(run) == "file:///workspace/demo"
    assert mount(run)[0]["persistentVolumeClaim"] == {"claimName": "shared"}


def co_location(run: HardeningRun, settings: OperatorSettings = SETTINGS) -> list[dict[str, Any]]:
    affinity = pod_of(run, 1, "Attack", settings=settings).get("affinity", {})
    terms: list[dict[str, Any]] = affinity.get("podAffinity", {}).get(REQUIRED, [])
    return terms


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def same_node(claim_name: str) -> dict[str, Any]:
    """The term by which all pods that mount a claim share a node."""
    labels = {"hardening.dev/workspace": claim_name}
    return {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}


@pytest.mark.parametrize(
    ("run", "claims"),
    [
        (run_of(), ["demo-workspace"]),
        (claim(size="1Gi", accessMode="ReadWriteOnce"), ["demo-workspace"]),
        (claim(claimName="shared", accessMode="ReadWriteOnce"), ["shared"]),
        (claim(size="1Gi"), []),
        (claim(claimName="shared"), []),
        (run_of(workspace=BUCKET), []),
    ],
)
def test_pods_share_a_node_where_one_node_alone_can_mount_the_claim(run: HardeningRun, claims: list[str]) -> None:
    assert co_location(run) == [same_node(name) for name in claims]
    labels = job_of(run, 1, "Attack")["spec"]["template"]["metadata"]["labels"]
    assert [labels[name] for name in labels if name == "hardening.dev/workspace"] == claims


def test_co_location_is_added_to_the_runs_own_affinity() -> None:
    near = {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "zone"}
    affinity = {
        "podAffinity": {REQUIRED: [near]},
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
    }
    run = run_of(stages={"all": {"affinity": affinity}})
    assert co_location(run) == [near, same_node("demo-workspace")]
    assert "nodeAffinity" in pod_of(run, 1, "Attack")["affinity"]
    assert co_location(run) == [near, same_node("demo-workspace")]


def test_a_bucket_has_a_folder_of_the_runs_name_and_no_volume() -> None:
    run = run_of(workspace=BUCKET)
    assert workspace_url(run) == "s3://runs/team/demo"
    assert run_objects(run, SETTINGS) == []
    assert mount(run) == []
    assert "/workspace" not in [entry["mountPath"] for entry in container_of(run, 1, "Attack")["volumeMounts"]]


def test_a_buckets_keys_are_named_never_shown() -> None:
    environ = environ_of(run_of(workspace=BUCKET), 1, "Attack")
    assert environ["AWS_ENDPOINT_URL"] == "http://minio.storage:9000"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert environ[name] == {"secretKeyRef": {"name": "bucket", "key": name}}
    plain = environ_of(run_of(workspace={"s3": {"uri": "s3://runs"}}), 1, "Attack")
    assert not any(name.startswith("AWS_") for name in plain)
