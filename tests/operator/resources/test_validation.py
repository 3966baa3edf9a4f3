"""Runs that no pod can do are refused with the field, what stands there and what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from hardening_operator.resources import run_problems
from tests.operator.resources.made import OFFLINE, run_of
from tests.operator.resources.test_needs import SECRETIVE
from tests.operator.resources.test_schemas import EVERYTHING

GATES = {"gates": {"winRate": {"min": 0.5}}}
BUCKET = {"s3": {"uri": "s3://runs", "endpointUrl": "http://minio:9000", "secretRef": {"name": "bucket"}}}


def stages(**overrides: Any) -> dict[str, Any]:
    return {"stages": {"trainDefender": overrides}}


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        (
            {"model": {"uri": "file://./models/tiny"}},
            ["spec.model.uri: got file://./models/tiny: expected an absolute file:// path inside the pod"],
        ),
        (
            {
                "data": {
                    "preferences": {"uri": "file://pairs.jsonl"},
                    "evaluation": {"harmful": {"uri": "file://../held-out.jsonl"}},
                }
            },
            [
                "spec.data.preferences.uri: got file://pairs.jsonl",
                "spec.data.evaluation.harmful.uri: got file://../held",
            ],
        ),
        (
            {
                "evaluation": {
                    "judges": [
                        {"name": "a", "type": "RefusalPattern"},
                        {"name": "b", "type": "LlamaGuard", "model": {"uri": "file://guard"}},
                    ]
                }
            },
            ["spec.evaluation.judges[1].model.uri: got file://guard"],
        ),
        (
            {
                "promotion": {
                    **GATES,
                    "targets": [{}, {"type": "MLflow", "trackingUri": "http://m:5000", "registeredModel": "m"}],
                }
            },
            ["spec.promotion.targets[1].type: got MLflow: expected Workspace or S3"],
        ),
        (
            {"training": {"nodes": 2}, "workspace": BUCKET},
            ["spec.training.nodes: got 2: expected 1 with workspace.s3"],
        ),
        (
            {"model": {"uri": "hf://org/m", "secretRef": {"name": "../other"}}},
            ["spec.model.secretRef.name: got ../other: expected the name of a Secret"],
        ),
        (
            stages(volumes=[{"name": "hardening-tmp", "emptyDir": {}}, *[{"name": "a", "emptyDir": {}}] * 2]),
            [
                "spec.stages.trainDefender.volumes[0].name: got hardening-tmp: expected one that does not begin with",
                "spec.stages.trainDefender.volumes[2].name: got a: expected a name no other volume has",
            ],
        ),
        (
            stages(
                volumeMounts=[
                    {"name": "a", "mountPath": "/workspace"},
                    {"name": "b", "mountPath": "/etc/hardening/secrets/hub"},
                    {"name": "c", "mountPath": "/data"},
                    {"name": "d", "mountPath": "/data"},
                ]
            ),
            [
                "spec.stages.trainDefender.volumeMounts[0].mountPath: got /workspace: expected a path outside",
                "spec.stages.trainDefender.volumeMounts[1].mountPath: got /etc/hardening/secrets/hub: expected a path",
                "spec.stages.trainDefender.volumeMounts[3].mountPath: got /data: expected a path no other mount has",
            ],
        ),
        (
            stages(
                tolerations=[{"key": "gpu", "operator": "Exists"}, {"key": 1}],
                affinity={"nodeAffinity": 3},
                env=[{"value": "x"}, {"name": "A", "val": "x"}, {"name": "B", "value": True}],
                volumes=[{"name": "a", "hostPath": {"pth": "/"}}],
                volumeMounts=[{"mountPath": "/data"}],
            ),
            [
                "spec.stages.trainDefender.tolerations[1].key: got 1: expected a valid string",
                "spec.stages.trainDefender.affinity.nodeAffinity: got 3: expected an object",
                "spec.stages.trainDefender.env[0].name: got nothing: expected a value",
                "spec.stages.trainDefender.env[1].val: got x: expected a field Kubernetes has",
                "spec.stages.trainDefender.env[2].value: got True: expected a valid string",
                "spec.stages.trainDefender.volumes[0].hostPath.path: got nothing: expected a value",
                "spec.stages.trainDefender.volumes[0].hostPath.pth: got /: expected a field Kubernetes has",
                "spec.stages.trainDefender.volumeMounts[0].name: got nothing: expected a value",
            ],
        ),
        (
            stages(env=[{"name": "MASTER_ADDR", "value": "x"}, {"name": "AWS_PROFILE", "value": "z"}]),
            ["spec.stages.trainDefender.env[0].name: got MASTER_ADDR: expected one that the operator does not set"],
        ),
        (
            {**stages(env=[{"name": "AWS_ACCESS_KEY_ID", "value": "x"}]), "workspace": BUCKET},
            ["spec.stages.trainDefender.env[0].name: got AWS_ACCESS_KEY_ID: expected one that the operator"],
        ),
    ],
)
def test_a_run_that_no_pod_can_do_is_refused_by_field(spec: dict[str, Any], problems: list[str]) -> None:
    found = run_problems(run_of(**spec))
    assert len(found) == len(problems), found
    for line, start in zip(found, problems, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    "spec", [{}, OFFLINE, SECRETIVE, EVERYTHING, {"workspace": BUCKET}, {"training": {"nodes": 4}}]
)
def test_a_run_that_pods_can_do_has_no_problems(spec: dict[str, Any]) -> None:
    assert run_problems(run_of(**spec)) == []


def test_a_mount_beside_ours_and_one_in_place_of_the_temporary_volume_are_fine() -> None:
    mounts = [{"name": "a", "mountPath": "/workspaces"}, {"name": "b", "mountPath": "/tmp"}]
    assert run_problems(run_of(**stages(volumeMounts=mounts))) == []
