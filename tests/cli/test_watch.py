"""`watch` and `run --cluster`: follow a run to where it rests, whatever happens to the API server meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardening_operator.cli.kube import watch as watching
from tests.api.manifests import SMALL
from tests.cli import sample
from tests.cli.cluster import APPROVALS, RUNS, FakeCluster, hardening, kubectl_hardening, rbac_refusal
from tests.cli.test_status import ASKED

PROMOTED = sample.status(phase="Promoted", completion_time="2026-11-24T11:00:00Z")


@pytest.mark.parametrize(("phase", "code"), [("Promoted", 0), ("NotPromoted", 3), ("Failed", 1)])
def test_a_run_that_has_ended_ends_the_watch_with_its_exit_code(
    cluster: FakeCluster, put_run: Any, phase: str, code: int
) -> None:
    put_run(status=sample.status(phase=phase))
    shown = kubectl_hardening("watch", "small")
    assert shown.exit_code == code, shown.output
    assert phase in shown.stdout
    assert "by judge guard" in shown.stdout


def test_stages_are_told_as_they_go(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status(rounds=[]))
    entry = sample.first_round(stages=[sample.stage("Attack", "Running")], evaluations=[])
    cluster.when_watched(sample.status(rounds=[entry]), PROMOTED)
    shown = kubectl_hardening("watch", "small", "--plain")
    assert shown.exit_code == 0, shown.output
    told = [line for line in shown.stdout.splitlines() if line.startswith("Stage")]
    assert told[:2] == [
        "StageSucceeded: base Evaluate: succeeded on attempt 1 in 3 min 20 s",
        "StageStarted: round 1 Attack: attempt 1",
    ]
    assert "StageSucceeded: round 1 Attack: succeeded on attempt 1 in 3 min 20 s" in told


def test_a_watch_survives_a_restart_of_the_api_server(
    cluster: FakeCluster, put_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LONGEST_PAUSE_SECONDS", 0.05)
    put_run(status=sample.status())
    cluster.when_watched(PROMOTED, restart=True)
    shown = kubectl_hardening("watch", "small", "--plain")
    assert shown.exit_code == 0, shown.output
    assert "Promoted" in shown.stdout
    assert shown.stdout.count("Disconnected: cannot reach the cluster of context test") <= 1


def test_an_expired_watch_is_begun_anew(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    cluster.when_watched(PROMOTED)
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    cluster.api.refusals["watch", "hardeningruns"] = [(410, gone), (0, "")]
    shown = kubectl_hardening("watch", "small", "--plain")
    assert shown.exit_code == 0, shown.output
    assert "Disconnected" not in shown.stdout


def test_a_refusal_that_passes_is_borne_and_one_that_lasts_ends_the_watch(
    cluster: FakeCluster, put_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LONGEST_PAUSE_SECONDS", 0.01)
    put_run(status=sample.status())
    refusal = rbac_refusal("watch", "hardeningruns")
    cluster.api.refusals["watch", "hardeningruns"] = [refusal, refusal, (0, "")]
    cluster.when_watched(PROMOTED)
    assert kubectl_hardening("watch", "small", "--plain").exit_code == 0
    put_run("other", status=sample.status())
    cluster.api.refusals["watch", "hardeningruns"] = [refusal]
    shown = kubectl_hardening("watch", "other", "--plain")
    assert shown.exit_code == 2
    assert "cannot watch hardeningruns in namespace safety as bob" in shown.stderr


def test_a_run_that_is_deleted_ends_the_watch(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    cluster.api.refusals["watch", "hardeningruns"] = [(410, {"code": 410}), (0, "")]
    cluster.api.refusals["fetch", "hardeningruns"] = [(0, ""), (404, {"kind": "Status", "message": "not found"})]
    shown = kubectl_hardening("watch", "small", "--plain")
    assert shown.exit_code == 1
    assert "small was deleted." in shown.stdout


def test_a_watch_ends_after_its_timeout(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    shown = kubectl_hardening("watch", "small", "--timeout", "0s")
    assert shown.exit_code == 124
    assert "Watch again: kubectl hardening watch small -n safety" in shown.stdout


def test_a_timeout_that_is_no_time_is_a_usage_error(cluster: FakeCluster) -> None:
    shown = kubectl_hardening("watch", "small", "--timeout", "soon")
    assert shown.exit_code == 2
    assert "got soon: expected a time such as 90s, 10m or 1h30m" in " ".join(shown.stderr.split())


def test_a_run_that_waits_for_a_person_ends_the_watch_with_4(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status(phase="AwaitingApproval", decisions=[ASKED]))
    shown = kubectl_hardening("watch", "small")
    assert shown.exit_code == 4
    assert f" kubectl hardening approve small -n safety --digest {sample.CANDIDATE}" in shown.stdout.splitlines()


def test_a_run_that_was_just_approved_is_watched_on(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status(phase="AwaitingApproval", decisions=[ASKED]))
    spec = {"run": "small", "candidate": sample.CANDIDATE, "approver": "eve"}
    cluster.put(APPROVALS, {"metadata": {"name": "yes", "namespace": "safety"}, "spec": spec})
    cluster.when_watched(PROMOTED)
    assert kubectl_hardening("watch", "small").exit_code == 0


def test_a_run_that_was_just_resumed_is_watched_on(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status(phase="Suspended", observed_generation=1))
    assert kubectl_hardening("watch", "small").exit_code == 5
    cluster.change(RUNS, "small", {"metadata": {"generation": 2}})
    cluster.when_watched(PROMOTED)
    assert kubectl_hardening("watch", "small").exit_code == 0


def manifest(folder: Path, text: str = SMALL) -> str:
    path = folder / "run.yaml"
    path.write_text(text)
    return str(path)


def test_a_manifest_is_applied_and_followed(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.when_watched(PROMOTED)
    shown = hardening("run", manifest(tmp_path), "--cluster", "--plain")
    assert shown.exit_code == 0, shown.output
    stored = cluster.stored(RUNS, "small")
    assert stored["metadata"]["namespace"] == "safety"
    assert stored["spec"]["training"] == {"learningRate": 5e-6}


def test_as_a_plugin_a_manifest_is_always_applied(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.when_watched(PROMOTED)
    assert kubectl_hardening("run", manifest(tmp_path), "--plain").exit_code == 0


def test_what_cannot_be_applied_names_its_field(cluster: FakeCluster, tmp_path: Path) -> None:
    elsewhere = manifest(tmp_path, SMALL.replace("name: small", "name: small, namespace: other"))
    shown = hardening("run", elsewhere, "-n", "safety")
    assert (shown.exit_code, shown.stderr) == (
        2,
        f"{elsewhere}: metadata.namespace: got other: expected safety, as -n says\n",
    )
    shown = hardening("run", manifest(tmp_path, SMALL.replace("file:///models", "file://./models")), "--cluster")
    assert "spec.model.uri: got file://./models/small: expected an absolute path in the pods" in shown.stderr
    shown = hardening("run", manifest(tmp_path), "--cluster", "--workspace", "here")
    assert "--workspace: a run in the cluster names its own" in shown.stderr


def test_what_the_api_server_finds_wrong_is_a_line_a_field(cluster: FakeCluster, tmp_path: Path) -> None:
    causes = [{"field": "spec.rounds", "message": "Invalid value: 0"}, {"field": "spec.model", "message": "Forbidden"}]
    answer = {"kind": "Status", "message": "small is invalid", "details": {"causes": causes}}
    cluster.api.refusals["update", "hardeningruns"] = [(422, answer)]
    shown = hardening("run", manifest(tmp_path), "--cluster")
    assert shown.exit_code == 2
    assert shown.stderr.splitlines() == [
        "cannot patch hardeningruns small in namespace safety: spec.rounds: Invalid value: 0",
        "spec.model: Forbidden",
    ]
