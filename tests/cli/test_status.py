"""`status`: of a run in the cluster, and how a name is told from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardening_api.status import RunCondition, RunDecision, StageProgress
from hardening_operator.local.home import write_json
from tests.cli import sample
from tests.cli.cluster import EVENTS, NAMESPACE, RUNS, FakeCluster, hardening, kubectl_hardening, rbac_refusal
from tests.cli.conftest import UID, run_document

ASKED = RunDecision(
    time="2026-11-24T10:30:00Z", round=1, decision="AwaitApproval", reason="GatesPass", message="round 1 is Pass"
)


def test_a_run_is_shown_with_figures_stages_and_the_next_command(cluster: FakeCluster, put_run: Any) -> None:
    failing = sample.stage("TrainDefender", "Running", attempts=2, disruptions=1)
    entry = sample.first_round(stages=[sample.stage("Attack"), failing], verdict=None)
    progress = [StageProgress(stage="TrainDefender", round=1, ratio=0.45, eta_seconds=125)]
    put_run(status=sample.status(rounds=[entry], progress=progress))
    shown = kubectl_hardening("status", "small")
    assert shown.exit_code == 0, shown.output
    assert "small in namespace safety: Running" in shown.stdout
    assert "0.03-0.18" in shown.stdout
    assert "1      Attack         Succeeded         1  3 min 20 s" in shown.stdout
    assert "45% about 2 min 05 s left" in shown.stdout
    assert "Next\n kubectl hardening watch small -n safety" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_a_run_that_waits_for_a_person_names_the_exact_command(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status(phase="AwaitingApproval", decisions=[ASKED]))
    shown = kubectl_hardening("status", "small").stdout.splitlines()
    assert f" kubectl hardening approve small -n safety --digest {sample.CANDIDATE}" in shown


def test_conditions_and_the_runs_own_events_are_shown(cluster: FakeCluster, put_run: Any) -> None:
    condition = RunCondition(
        type="Failed",
        status="True",
        reason="Unschedulable",
        message="no node has nvidia.com/gpu",
        last_transition_time="2026-11-24T10:00:00Z",
    )
    put_run(status=sample.status(phase="Failed", conditions=[condition]))
    for number, (uid, reason) in enumerate([(UID, "RunFailed"), ("another", "Stale")]):
        event = {
            "metadata": {"name": f"e{number}", "creationTimestamp": "2026-11-24T10:00:00Z"},
            "involvedObject": {"uid": uid},
            "type": "Warning",
            "reason": reason,
            "message": "see the message",
            "count": 3,
        }
        cluster.put(EVENTS, event)
    shown = kubectl_hardening("status", "small").stdout
    assert "Failed True Unschedulable: no node has nvidia.com/gpu" in shown
    assert "RunFailed: see the message (3 times)" in shown
    assert "Stale" not in shown
    assert "kubectl hardening retry small -n safety" in shown


def test_who_may_not_see_events_sees_the_rest(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    cluster.api.refusals["list", "events"] = [rbac_refusal("list", "events")]
    assert kubectl_hardening("status", "small").exit_code == 0


def test_a_run_no_operator_has_seen_says_so(cluster: FakeCluster, put_run: Any) -> None:
    put_run()
    assert "no operator has seen it yet" in kubectl_hardening("status", "small").stdout


def test_the_resource_is_printed_for_scripts(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    document = json.loads(kubectl_hardening("status", "small", "-o", "json").stdout)
    assert document == cluster.stored(RUNS, "small")
    assert yaml.safe_load(kubectl_hardening("status", "small", "-o", "yaml").stdout) == document
    assert kubectl_hardening("status", "small", "-o", "name").stdout == "hardeningrun.hardening.dev/small\n"
    assert json.loads(kubectl_hardening("status", "small", "--json").stdout) == document["status"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder named as the run in the cluster, with a local run of another model in it."""
    monkeypatch.chdir(tmp_path)
    document = run_document(model={"uri": "file:///models/here"})
    write_json(tmp_path / "small" / "run.json", document)
    write_json(tmp_path / "small" / "status.json", sample.status().to_document())
    return tmp_path / "small"


def test_a_folder_of_that_name_is_meant_before_a_run_in_the_cluster(
    cluster: FakeCluster, put_run: Any, folder: Path
) -> None:
    put_run(status=sample.status())
    assert "file:///models/here" in hardening("status", "small").stdout
    assert "file:///models/here" in hardening("status", str(folder)).stdout
    assert "file:///models/small" in hardening("status", "small", "-n", NAMESPACE).stdout
    assert "file:///models/small" in hardening("status", "small", "--context", "test").stdout
    assert "file:///models/small" in hardening("-n", NAMESPACE, "status", "small").stdout
    assert "file:///models/small" in kubectl_hardening("status", "small").stdout


def test_a_name_that_is_no_folder_is_a_run_in_the_cluster(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    assert "small in namespace safety" in hardening("status", "small").stdout


def test_a_status_of_a_newer_version_is_refused_in_words(cluster: FakeCluster) -> None:
    document = run_document(status=sample.status())
    document["status"]["wonders"] = 7
    cluster.put(RUNS, document)
    shown = kubectl_hardening("status", "small")
    assert shown.exit_code == 2
    assert shown.stderr.startswith("HardeningRun small: status.wonders: not known to this version of hardening")


def test_a_path_is_no_name_of_a_run(cluster: FakeCluster) -> None:
    shown = kubectl_hardening("status", "../../nodes/one")
    assert shown.exit_code == 2
    assert shown.stderr.startswith("RUN: got ../../nodes/one: expected the name of a HardeningRun")
