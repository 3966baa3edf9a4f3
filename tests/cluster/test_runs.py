"""Runs on a real cluster: the chart as a user installs it, real pods that really train."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

from tests.cluster.conftest import Release
from tests.cluster.support.clients import CommandError, Kubectl
from tests.cluster.support.operators import operator_logs
from tests.cluster.support.pods import python_pod
from tests.cluster.support.runs import (
    condition,
    finished,
    pod_overrides,
    stages_of,
    tiny_run,
    working,
)
from tests.cluster.support.words import (
    TEXT_COLUMNS,
    operator_metrics,
    resources,
    shown_texts,
    stage_logs,
    stage_metrics,
    texts_of_the_data,
)

STAGES = ["Evaluate", "Attack", "Score", "TrainAttacker", "TrainDefender", "Evaluate", "Promote"]
GPU = "nvidia.com/gpu"
_VERIFY = f"""
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
import pyarrow.parquet as parquet
tables = [parquet.ParquetFile(path).read() for path in pathlib.Path("/workspace").rglob("*.parquet")]
columns = [table[name].to_pylist() for table in tables for name in {TEXT_COLUMNS} if name in table.column_names]
print(json.dumps([text for column in columns for text in column if text]))
found = {{"pointer": pointer, "subjects": len(statement["subject"]), "wrong": wrong}}
open("/dev/termination-log", "w").write(json.dumps(found)[:4000])
"""
"""What was promoted is whole, and loads; every text of the workspace's tables is printed."""


def test_a_run_with_shards_and_two_nodes_is_promoted_and_no_text_leaves_its_workspace(
    space: Kubectl, images: dict[str, str], operator: Release
) -> None:
    stages = {"all": pod_overrides(), "attack": {"shards": 2}, "evaluate": {"shards": 2}}
    training = {"method": "Full", "gpusPerNode": 1, "nodes": 2, "learningRate": 1e-4, "deepspeed": {"zeroStage": 2}}
    space.apply(tiny_run("first", stages=stages, training=training))
    run, metrics = followed(space, "first", 15)
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]
    space.wait("hrun/first", "Promoted", 10)
    assert [stage["stage"] for stage in stages_of(run)] == STAGES
    assert {stage["attempts"] for stage in stages_of(run)} == {1}

    jobs = {job["metadata"]["name"]: job for job in space.items("jobs", "hardening.dev/run=first")}
    assert len(jobs) == len(STAGES)
    for stage in ("attack", "train-defender", "train-attacker", "evaluate"):
        assert jobs[f"first-r1-{stage}"]["status"]["succeeded"] == 2
        assert gpus(jobs[f"first-r1-{stage}"]) == "1"
    assert all(job["status"].get("failed", 0) == 0 for job in jobs.values())
    training = space("logs", "-l", "hardening.dev/stage=train-defender", "--tail=-1")
    assert "ZeRO-2 in 2 processes over gloo" in training

    verified, written = verify(space, "first", images["trainer"])
    assert verified["wrong"] == []
    assert verified["subjects"] > 0
    assert run["status"]["promoted"]["digest"].removeprefix("sha256:")[:12] in json.dumps(verified["pointer"])

    system = operator.kubectl
    assert {"attack", "evaluate", "train-defender"} <= metrics.keys(), metrics.keys()
    assert "hardening_harm_rate{" in operator_metrics(system)
    shown = [resources(space), stage_logs(space), *metrics.values()]
    shown += [resources(system), operator_logs(system), operator_metrics(system)]
    texts = texts_of_the_data() | written
    assert len(written) > 20
    assert shown_texts(texts, "\n".join(shown)) == []


def followed(space: Kubectl, name: str, minutes: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Follow a run to its end. Returns it, and the last metrics that each of its stages served."""
    metrics: dict[str, str] = {}
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(1):
            metrics.update(stage_metrics(space))

    scraper = threading.Thread(target=scrape, daemon=True)
    scraper.start()
    try:
        return finished(space, name, minutes), metrics
    finally:
        ended.set()
        scraper.join()


def gpus(job: dict[str, Any]) -> str:
    """The GPUs that each pod of a Job asks for."""
    [container] = job["spec"]["template"]["spec"]["containers"]
    return str(container["resources"]["limits"][GPU])


def verify(space: Kubectl, run: str, image: str) -> tuple[dict[str, Any], set[str]]:
    """Look at what was promoted, and at every text of the tables, from a pod that mounts the workspace."""
    [claim] = [entry["metadata"]["name"] for entry in space.items("pvc") if run in entry["metadata"]["name"]]
    volumes = [{"name": "work", "persistentVolumeClaim": {"claimName": claim}}, {"name": "tmp", "emptyDir": {}}]
    mounts = [{"name": "work", "mountPath": "/workspace"}, {"name": "tmp", "mountPath": "/tmp"}]
    container = {"volumeMounts": mounts, "command": ["python", "-c", _VERIFY]}
    space.apply(python_pod("verify", image, "", volumes=volumes, container=container))
    pod = space.watch("pod/verify", lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"), "ended", 300)
    said = space("logs", "verify")
    assert pod["status"]["phase"] == "Succeeded", said
    found: dict[str, Any] = json.loads(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"])
    return found, set(json.loads(said.splitlines()[-1]))


def test_a_gate_that_is_not_met_ends_not_promoted_with_the_numbers(space: Kubectl) -> None:
    space.apply(tiny_run("strict", promotion={"gates": {"winRate": {"statistic": "All", "min": 1.0}, "minSamples": 1}}))
    run = finished(space, "strict")
    assert run["status"]["phase"] == "NotPromoted"
    message = condition(run, "GatePassed")["message"]
    assert re.search(r"win rate of all pairs [0-9.]+ \[[0-9.]+, [0-9.]+\], n \d+", message), message
    assert condition(run, "Promoted")["status"] == "False"
    assert not any("promote" in job["metadata"]["name"] for job in space.items("jobs"))


def test_a_deleted_run_leaves_nothing_behind(space: Kubectl) -> None:
    space.apply(tiny_run("gone"))
    working(space, "gone", "evaluate", 3)
    space("delete", "hrun", "gone", "--timeout=60s")
    for kind in ("jobs", "pods", "services", "networkpolicies"):
        space("wait", kind, "-l", "hardening.dev/run=gone", "--for=delete", "--timeout=180s", seconds=200)
    space("wait", "pvc", "--all", "--for=delete", "--timeout=120s", seconds=150)
    names = [entry["metadata"]["name"] for entry in space.items("configmaps")]
    assert not any(name.startswith("gone") for name in names)


def test_nobody_but_the_caller_is_the_approver_and_an_approved_candidate_is_promoted(space: Kubectl) -> None:
    gates = {"winRate": {"statistic": "All", "min": 0, "bound": "Value"}, "minSamples": 1}
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
    space.wait("hrun/asked", "Promoted", 300)
    with pytest.raises(CommandError, match="cannot change"):
        space("patch", "happ", "asked-r1", "--type=merge", "-p", '{"spec":{"decision":"Rejected"}}')


def test_a_spec_cannot_change_once_started(space: Kubectl) -> None:
    space.apply(tiny_run("fixed"))
    space.watch("hrun/fixed", lambda run: bool(run.get("status", {}).get("startTime")), "started", 60)
    with pytest.raises(CommandError, match=r"spec\.rounds cannot change once the run has started"):
        space("patch", "hrun", "fixed", "--type=merge", "-p", '{"spec":{"rounds":5}}')
