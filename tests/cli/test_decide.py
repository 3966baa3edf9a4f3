"""`approve`, `reject`, `suspend`, `resume` and `retry`: what a person decides about a run in the cluster."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hardening_api.approval import PromotionApproval
from hardening_api.run import HardeningRun
from hardening_api.validation import validate_as
from hardening_operator.cli.approve import approval_name
from hardening_operator.cli.retry import next_name, what_is_reused
from tests.cli import sample
from tests.cli.cluster import APPROVALS, RUNS, FakeCluster, kubectl_hardening, rbac_refusal
from tests.cli.conftest import run_document
from tests.cli.test_status import ASKED

NAME = approval_name("small", sample.CANDIDATE, 1)


@pytest.fixture
def waiting(put_run: Any) -> None:
    put_run(status=sample.status(phase="AwaitingApproval", decisions=[ASKED]))


def decide(verb: str, digest: str, *more: str) -> Any:
    return kubectl_hardening(verb, "small", "--digest", digest, *more)


@pytest.mark.parametrize(
    ("verb", "more", "decision"),
    [("approve", (), "Approved"), ("reject", (), "Rejected"), ("approve", ("--reject",), "Rejected")],
)
def test_a_decision_is_an_approval_in_the_callers_own_name(
    cluster: FakeCluster, waiting: None, verb: str, more: tuple[str, ...], decision: str
) -> None:
    shown = decide(verb, sample.CANDIDATE, "--reason", "looks well", *more)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines() == [
        f"{decision} by eve: promotionapproval.hardening.dev/{NAME}",
        "Next: kubectl hardening watch small -n safety",
    ]
    approval = validate_as(PromotionApproval, cluster.stored(APPROVALS, NAME))
    assert isinstance(approval, PromotionApproval), approval
    assert approval.spec.to_document() == {
        "run": "small",
        "candidate": sample.CANDIDATE,
        "decision": decision,
        "approver": "eve",
        "reason": "looks well",
    }


def test_a_digest_no_one_is_asked_about_is_refused(cluster: FakeCluster, waiting: None) -> None:
    shown = decide("approve", sample.OTHER)
    assert shown.exit_code == 2
    assert shown.stderr == (
        f"small: got phase AwaitingApproval and digest {sample.OTHER}: "
        f"expected the candidate that is asked about, {sample.CANDIDATE}\n"
    )
    assert not [key for key in cluster.api.objects if key[0].plural == "promotionapprovals"]


def test_a_run_that_asks_no_one_takes_no_approval(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    shown = decide("approve", sample.CANDIDATE)
    assert (shown.exit_code, shown.stderr.rpartition(": ")[2]) == (2, "expected AwaitingApproval\n")


def test_the_same_decision_twice_is_written_once(cluster: FakeCluster, waiting: None) -> None:
    decide("approve", sample.CANDIDATE)
    shown = decide("approve", sample.CANDIDATE)
    assert (shown.exit_code, shown.stdout) == (0, f"Approved before, by eve: {NAME}\n")
    second = decide("reject", sample.CANDIDATE)
    assert approval_name("small", sample.CANDIDATE, 2) in second.stdout


def test_no_one_approves_in_anothers_name(cluster: FakeCluster, waiting: None) -> None:
    shown = decide("approve", sample.CANDIDATE, "--approver", "mallory")
    assert (shown.exit_code, shown.stderr) == (2, "--approver: the cluster knows who you are: leave it out\n")


def test_who_may_not_approve_is_told_which_role_to_ask_for(cluster: FakeCluster, waiting: None) -> None:
    cluster.api.refusals["create", "promotionapprovals"] = [rbac_refusal("create", "promotionapprovals")]
    shown = decide("approve", sample.CANDIDATE)
    assert shown.exit_code == 2
    assert shown.stderr == (
        "cannot create promotionapprovals in namespace safety as bob: ask for the chart's ClusterRole ...-approver\n"
    )


def test_the_words_of_an_admission_policy_are_passed_on(cluster: FakeCluster, waiting: None) -> None:
    message = "promotionapprovals.hardening.dev is forbidden: ValidatingAdmissionPolicy denied request: spec.approver"
    cluster.api.refusals["create", "promotionapprovals"] = [(403, {"kind": "Status", "message": message})]
    assert message in decide("approve", sample.CANDIDATE).stderr


def test_the_name_of_an_approval_stays_within_the_length_of_a_run() -> None:
    name = approval_name("r" * 52, sample.CANDIDATE, 12)
    assert len(name) == 52
    assert name.endswith("-abababab-12")


def test_suspend_and_resume_change_the_spec_and_nothing_else(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    before = cluster.stored(RUNS, "small")
    shown = kubectl_hardening("suspend", "small")
    assert shown.stdout.splitlines() == [
        "hardeningrun.hardening.dev/small suspended",
        "Next: kubectl hardening status small -n safety",
    ]
    after = cluster.stored(RUNS, "small")
    assert after["spec"] == {**before["spec"], "suspend": True}
    assert "suspended already" in kubectl_hardening("suspend", "small").stdout
    assert "watch small" in kubectl_hardening("resume", "small").stdout
    assert cluster.stored(RUNS, "small")["spec"]["suspend"] is False


def test_a_run_that_has_ended_is_not_suspended(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status(phase="Promoted"))
    shown = kubectl_hardening("suspend", "small")
    assert (shown.exit_code, shown.stderr.startswith("small: got phase Promoted")) == (2, True)


def test_who_may_not_suspend_is_told_which_role_to_ask_for(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    cluster.api.refusals["update", "hardeningruns"] = [rbac_refusal("patch", "hardeningruns")]
    shown = kubectl_hardening("suspend", "small")
    assert shown.stderr == (
        "cannot patch hardeningruns in namespace safety as bob: ask for the chart's ClusterRole ...-editor\n"
    )


@pytest.mark.parametrize("phase", ["Failed", "NotPromoted"])
def test_a_retry_is_a_new_run_of_the_same_spec(cluster: FakeCluster, phase: str) -> None:
    document = run_document(status=sample.status(phase=phase), suspend=True)
    document["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpu"}
    document["metadata"]["annotations"] = {
        "owner": "us",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    cluster.put(RUNS, document)
    shown = kubectl_hardening("retry", "small")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines() == [
        "hardeningrun.hardening.dev/small-retry-1 created, from the spec of small",
        "It starts from the beginning and reuses no stage: it gets a claim of its own, small-retry-1-workspace; "
        "small's stays until small is deleted.",
        "Next: kubectl hardening watch small-retry-1 -n safety",
    ]
    made = cluster.stored(RUNS, "small-retry-1")
    assert made["spec"] == {**document["spec"], "suspend": False}
    assert "status" not in made
    assert made["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "gpu"}
    assert made["metadata"]["annotations"] == {"owner": "us", "hardening.dev/retry-of": "small"}
    assert "uid" not in made["metadata"]
    assert "small-retry-2 created" in kubectl_hardening("retry", "small").stdout


def test_a_dry_run_prints_the_new_run_and_makes_none(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status(phase="Failed"))
    shown = kubectl_hardening("retry", "small", "--dry-run")
    assert isinstance(validate_as(HardeningRun, yaml.safe_load(shown.stdout)), HardeningRun)
    assert len(list(cluster.api.objects)) == 1


@pytest.mark.parametrize("phase", ["Running", "Promoted", "AwaitingApproval", "Suspended"])
def test_only_a_run_that_failed_or_was_not_promoted_is_retried(cluster: FakeCluster, put_run: Any, phase: str) -> None:
    put_run(status=sample.status(phase=phase))
    shown = kubectl_hardening("retry", "small")
    assert (shown.exit_code, shown.stderr.startswith(f"small: got phase {phase}: expected Failed or")) == (2, True)


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("a", [], "a-retry-1"),
        ("a", ["a-retry-1", "a-retry-7", "ab-retry-9"], "a-retry-8"),
        ("a-retry-3", ["a-retry-3"], "a-retry-4"),
        ("b" * 52, [], "b" * 41 + "-retry-1"),
    ],
)
def test_the_name_of_a_retry_counts_on(name: str, taken: list[str], expected: str) -> None:
    assert next_name(name, taken) == expected


@pytest.mark.parametrize(
    ("workspace", "words"),
    [
        ({"s3": {"uri": "s3://bucket/runs/"}}, "it works in s3://bucket/runs/two; small's work stays"),
        ({"persistentVolumeClaim": {"claimName": "shared"}}, "it works in folder two of claim shared"),
        ({"persistentVolumeClaim": {"size": "1Gi"}}, "it gets a claim of its own, two-workspace"),
    ],
)
def test_a_retry_says_where_it_works(workspace: dict[str, Any], words: str) -> None:
    run = HardeningRun.model_validate(run_document(workspace=workspace))
    assert words in what_is_reused(run, "two")
