"""Runs on a real cluster: the chart as a user installs it, real pods that really train."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster, Release
from tests.cluster.support.clients import CommandError, Kubectl
from tests.cluster.support.pods import python_pod
from tests.cluster.support.runs import (
    DATA,
    at_rest,
    condition,
    give_inputs,
    pod_overrides,
    stage_running,
    stages_of,
    tiny_run,
)
from tests.support.stage_configs import terse_model
from tests.support.tiny_model import build_tiny_model

MINUTES = 60
STAGES = ["Evaluate", "Attack", "Score", "TrainAttacker", "TrainDefender", "Evaluate", "Promote"]
_VERIFY = """
import hashlib, json, pathlib
home = pathlib.Path("/workspace/promoted")
pointer = json.loads((home / "current.json").read_text())
folder = next(path for path in home.iterdir() if path.is_dir())
statement = json.loads((folder / "statement.json").read_text())
wrong = [
    subject["name"] for subject in statement["subject"]
    if (folder / subject["name"]).is_file()
    and hashlib.sha256((folder / subject["name"]).read_bytes()).hexdigest() != subject["digest"]["sha256"]
]
from transformers import AutoModelForCausalLM
assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers == 2
found = {"pointer": pointer, "subjects": len(statement["subject"]), "wrong": wrong}
open("/dev/termination-log", "w").write(json.dumps(found)[:4000])
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny_model(folder / "plain")
    return terse_model(folder / "plain", folder / "model")


@pytest.fixture
def space(kubectl: Kubectl, tiny: Path, operator: Release) -> Kubectl:
    """A namespace with the inputs of a tiny run, and the operator watching."""
    give_inputs(kubectl, tiny)
    return kubectl


def finished(space: Kubectl, name: str, minutes: int = 12) -> dict[str, Any]:
    return space.watch(f"hardeningrun/{name}", at_rest, "came to rest", minutes * MINUTES)


def events(space: Kubectl, name: str) -> list[str]:
    found = [entry for entry in space.items("events") if entry["involvedObject"].get("name") == name]
    return [entry["reason"] for entry in found]


def texts() -> list[str]:
    """Every prompt and answer of the data: none of it may be seen outside the workspace."""
    rows = [json.loads(line) for file in DATA.glob("*.jsonl") for line in file.read_text().splitlines()]
    found = {value for row in rows for key, value in row.items() if key in ("prompt", "preferred", "dispreferred")}
    return [text for text in found if isinstance(text, str) and len(text) > 15]


def test_a_run_with_shards_and_two_nodes_is_promoted(
    space: Kubectl, cluster: Cluster, images: dict[str, str], operator: Release
) -> None:
    stages = {
        "all": pod_overrides(),
        "attack": {"shards": 2, "resources": {"limits": {"nvidia.com/gpu": 1}}},
        "evaluate": {"shards": 2},
    }
    training = {"method": "Full", "gpusPerNode": 0, "nodes": 2, "learningRate": 1e-4, "deepspeed": {"zeroStage": 2}}
    space.apply(tiny_run("first", stages=stages, training=training))
    run = finished(space, "first", 20)
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]
    space.wait("hrun/first", "Promoted", 10)
    assert [stage["stage"] for stage in stages_of(run)] == STAGES
    assert {stage["attempts"] for stage in stages_of(run)} == {1}

    jobs = {job["metadata"]["name"]: job for job in space.items("jobs", "hardening.dev/run=first")}
    assert len(jobs) == len(STAGES)
    assert jobs["first-r1-attack"]["spec"]["completions"] == 2
    assert jobs["first-r1-train-defender"]["spec"]["completions"] == 2
    assert all(job["status"].get("failed", 0) == 0 for job in jobs.values())

    verified = verify(space, "first", images["trainer"])
    assert verified["wrong"] == []
    assert verified["subjects"] > 0
    assert run["status"]["promoted"]["digest"].removeprefix("sha256:")[:12] in json.dumps(verified["pointer"])

    shown = "\n".join(
        [space("get", "hrun,jobs,pods,cm,events", "-o", "yaml"), all_logs(space), operator_logs(operator)]
    )
    inputs = space("get", "cm", "tiny-data", "-o", "yaml")
    assert [text for text in texts() if text in shown.replace(inputs, "")] == []
    table = space("get", "hrun", "first")
    assert "Promoted" in table


def verify(space: Kubectl, run: str, image: str) -> dict[str, Any]:
    """Look at what was promoted, from a pod that mounts the workspace."""
    [claim] = [entry["metadata"]["name"] for entry in space.items("pvc") if run in entry["metadata"]["name"]]
    volumes = [{"name": "work", "persistentVolumeClaim": {"claimName": claim}}, {"name": "tmp", "emptyDir": {}}]
    mounts = [{"name": "work", "mountPath": "/workspace"}, {"name": "tmp", "mountPath": "/tmp"}]
    container = {"volumeMounts": mounts, "command": ["python", "-c", _VERIFY]}
    space.apply(python_pod("verify", image, "", volumes=volumes, container=container))
    pod = space.watch("pod/verify", lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"), "ended", 300)
    assert pod["status"]["phase"] == "Succeeded", space("logs", "verify")
    found: dict[str, Any] = json.loads(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"])
    return found


def all_logs(space: Kubectl) -> str:
    return "\n".join(
        space("logs", f"pod/{pod['metadata']['name']}") for pod in space.items("pods", "hardening.dev/run")
    )


def operator_logs(operator: Release) -> str:
    pods = operator.kubectl.items("pods", "app.kubernetes.io/name=hardening-operator")
    assert pods
    return "\n".join(operator.kubectl("logs", f"pod/{pod['metadata']['name']}") for pod in pods)


def test_a_gate_that_is_not_met_ends_not_promoted_with_the_numbers(space: Kubectl) -> None:
    space.apply(tiny_run("strict", promotion={"gates": {"winRate": {"min": 1.0}, "minSamples": 1}}))
    run = finished(space, "strict")
    assert run["status"]["phase"] == "NotPromoted"
    message = condition(run, "GatePassed")["message"]
    assert re.search(r"win rate [0-9.]+ \[[0-9.]+, [0-9.]+\], n \d+", message), message
    assert condition(run, "Promoted")["status"] == "False"


def test_a_suspended_run_stops_its_pods_and_goes_on_when_resumed(space: Kubectl) -> None:
    space.apply(tiny_run("paused"))
    space.watch("hrun/paused", lambda run: stage_running(run, "Attack"), "attacks", 6 * MINUTES)
    space("patch", "hrun", "paused", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    space.wait("hrun/paused", "Suspended", 60)
    space("wait", "pods", "-l", "hardening.dev/run=paused,hardening.dev/stage=attack", "--for=delete", "--timeout=150s")
    before = {job["metadata"]["name"] for job in space.items("jobs", "hardening.dev/run=paused")}
    assert not any("attack" in name for name in before)
    space("patch", "hrun", "paused", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    run = finished(space, "paused")
    assert run["status"]["phase"] == "Promoted"
    assert "Resumed" in events(space, "paused")


def test_a_deleted_run_leaves_nothing_behind(space: Kubectl) -> None:
    space.apply(tiny_run("gone"))
    space.watch("hrun/gone", lambda run: stage_running(run, "Evaluate"), "evaluates the base", 3 * MINUTES)
    space("wait", "jobs", "-l", "hardening.dev/run=gone", "--for=create", "--timeout=60s")
    space("delete", "hrun", "gone", "--timeout=60s")
    for kind in ("jobs", "pods", "services", "networkpolicies"):
        space("wait", kind, "-l", "hardening.dev/run=gone", "--for=delete", "--timeout=180s", seconds=200)
    space("wait", "pvc", "--all", "--for=delete", "--timeout=120s", seconds=150)
    names = [entry["metadata"]["name"] for entry in space.items("configmaps")]
    assert not any(name.startswith("gone") for name in names)


@pytest.mark.parametrize(
    ("name", "stages", "reason"),
    [
        ("no-image", pod_overrides(image="localhost/no-such-image:1"), "ImagePullFailed"),
        ("no-gpu", pod_overrides(resources={"limits": {"nvidia.com/gpu": 64}}), "Unschedulable"),
        ("no-memory", pod_overrides(resources={"limits": {"memory": "120Mi"}}), "OutOfMemory"),
    ],
)
def test_what_the_cluster_cannot_give_fails_the_run_with_its_reason(
    space: Kubectl, name: str, stages: dict[str, Any], reason: str
) -> None:
    space.apply(tiny_run(name, stages={"all": stages}, backoffLimit=0))
    run = finished(space, name, 6)
    assert (run["status"]["phase"], condition(run, "Failed")["reason"]) == ("Failed", reason)
    assert len(condition(run, "Failed")["message"]) > 40
    space("wait", "jobs", "-l", f"hardening.dev/run={name}", "--for=delete", "--timeout=120s", seconds=150)


def test_data_that_is_not_there_fails_at_once_with_the_file_named(space: Kubectl) -> None:
    document = tiny_run("bad-data")
    document["spec"]["data"]["preferences"]["uri"] = "file:///inputs/data/missing.jsonl"
    space.apply(document)
    run = finished(space, "bad-data", 6)
    failed = condition(run, "Failed")
    assert run["status"]["phase"] == "Failed"
    assert "missing.jsonl" in failed["message"]
    assert max(stage["attempts"] for stage in stages_of(run)) == 1


def test_a_full_workspace_fails_with_words_about_room(space: Kubectl) -> None:
    workspace = {"persistentVolumeClaim": {"size": "1Mi", "storageClassName": "sized", "accessMode": "ReadWriteMany"}}
    space.apply(tiny_run("full", workspace=workspace, backoffLimit=0))
    run = finished(space, "full", 10)
    assert (run["status"]["phase"], condition(run, "Failed")["reason"]) == ("Failed", "WorkspaceFull")


def test_nobody_but_the_caller_is_the_approver_and_an_approved_candidate_is_promoted(space: Kubectl) -> None:
    gates = {"winRate": {"min": 0, "bound": "Value"}, "minSamples": 1}
    space.apply(tiny_run("asked", promotion={"gates": gates, "approval": "Manual"}))
    run = finished(space, "asked")
    assert run["status"]["phase"] == "AwaitingApproval"
    candidate = run["status"]["rounds"][0]["candidate"]
    spec = {"run": "asked", "candidate": candidate, "approver": "somebody-else"}
    approval = {"apiVersion": "hardening.dev/v1alpha1", "kind": "PromotionApproval", "metadata": {"name": "asked-r1"}}
    with pytest.raises(CommandError, match="approver"):
        space.apply({**approval, "spec": spec})
    caller = json.loads(space("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    space.apply({**approval, "spec": spec | {"approver": caller}})
    space.wait("hrun/asked", "Promoted", 5 * MINUTES)
    with pytest.raises(CommandError, match="cannot change"):
        space("patch", "happ", "asked-r1", "--type=merge", "-p", '{"spec":{"decision":"Rejected"}}')
