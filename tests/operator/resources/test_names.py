"""Names and labels: the same for the same attempt, another for any other, and never too long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardening_api.status import StageName
from hardening_operator.planner.names import LONGEST_JOB, check_labels, claim_name, service_name, stage_labels
from hardening_operator.planner.types import STAGE_ORDER, StageKey
from hardening_operator.resources import check_job_name, check_of, key_of, rerun_name, stage_job_name
from tests.operator.resources.made import ALL_STAGES, child, children, run_of

LONGEST_RUN = 52
RUN_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True)
LONG_RUN_NAMES = st.from_regex(r"[a-z0-9][-a-z0-9]{40,50}[a-z0-9]", fullmatch=True)
KEYS = st.builds(StageKey, st.integers(0, 100), st.sampled_from(STAGE_ORDER))
ATTEMPTS = st.integers(1, 120)
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@pytest.mark.parametrize(
    ("round_number", "stage", "attempt", "name"),
    [
        (0, "Evaluate", 1, "demo-r0-evaluate"),
        (2, "TrainDefender", 1, "demo-r2-train-defender"),
        (2, "TrainDefender", 3, "demo-r2-train-defender-a3"),
    ],
)
def test_a_name_tells_run_round_stage_and_from_the_second_on_the_attempt(
    round_number: int, stage: StageName, attempt: int, name: str
) -> None:
    assert stage_job_name("demo", StageKey(round_number, stage), attempt) == name


def test_a_long_run_is_cut_and_marked() -> None:
    name = stage_job_name("a" * LONGEST_RUN, StageKey(100, "TrainAttacker"), 12)
    assert re.fullmatch(r"a{19}-[0-9a-f]{8}-r100-train-attacker-a12", name)
    assert len(name) == LONGEST_JOB


@given(RUN_NAMES, KEYS, ATTEMPTS)
def test_every_name_is_valid_and_leaves_room_for_a_pods(run: str, key: StageKey, attempt: int) -> None:
    job = stage_job_name(run, key, attempt)
    assert LABEL.fullmatch(job)
    last_pod = f"{job}-1023-x7k2p"
    assert len(last_pod) <= 63
    assert LABEL.fullmatch(claim_name(run))
    assert LABEL.fullmatch(service_name(job))
    assert service_name(job)[0].isalpha()


@given(LONG_RUN_NAMES, LONG_RUN_NAMES, KEYS, ATTEMPTS)
def test_two_long_runs_never_share_a_name(one: str, other: str, key: StageKey, attempt: int) -> None:
    assert (stage_job_name(one, key, attempt) == stage_job_name(other, key, attempt)) is (one == other)


@given(st.text("ab-0", min_size=40, max_size=40), st.text("xy", min_size=8, max_size=8), KEYS)
def test_runs_that_differ_only_in_what_is_cut_away_differ_in_the_mark(start: str, end: str, key: StageKey) -> None:
    one, other = f"a{start}{end}", f"a{start}{end[::-1]}"
    assert (stage_job_name(one, key, 9999) == stage_job_name(other, key, 9999)) is (one == other)


@given(RUN_NAMES, KEYS, ATTEMPTS, RUN_NAMES, KEYS, ATTEMPTS)
def test_no_two_attempts_share_a_name(a: str, b: StageKey, c: int, d: str, e: StageKey, f: int) -> None:
    assert (stage_job_name(a, b, c) == stage_job_name(d, e, f)) is ((a, b, c) == (d, e, f))


def test_a_run_named_like_another_runs_stage_is_told_apart() -> None:
    key = StageKey(1, "Attack")
    assert stage_job_name("x-r1-attack", key, 1) != stage_job_name("x", key, 1)


def test_a_service_is_named_like_its_job_unless_that_begins_with_a_digit() -> None:
    assert service_name("demo-r1-train-defender") == "demo-r1-train-defender"
    assert re.fullmatch(r"n[0-9a-f]{8}-7b-r1-train-defender", service_name("7b-r1-train-defender"))


@given(RUN_NAMES, KEYS, ATTEMPTS)
def test_labels_lead_back_to_stage_and_attempt(run: str, key: StageKey, attempt: int) -> None:
    assert key_of(stage_labels(run, key, attempt)) == (key, attempt)


@pytest.mark.parametrize(
    "change",
    [
        {"app.kubernetes.io/managed-by": "Helm"},
        {"hardening.dev/run": ""},
        {"hardening.dev/round": "first"},
        {"hardening.dev/round": "-1"},
        {"hardening.dev/attempt": "0"},
        {"hardening.dev/attempt": "٣"},
        {"hardening.dev/stage": "Attack"},
    ],
)
def test_labels_of_anything_else_lead_nowhere(change: dict[str, str]) -> None:
    assert key_of(stage_labels("demo", StageKey(1, "Attack"), 1) | change) is None


@pytest.mark.parametrize("missing", sorted(stage_labels("demo", StageKey(1, "Attack"), 1)))
def test_only_the_apps_name_may_be_missing(missing: str) -> None:
    labels = stage_labels("demo", StageKey(1, "Attack"), 1)
    del labels[missing]
    assert (key_of(labels) is None) is (missing != "app.kubernetes.io/name")


@pytest.mark.parametrize(("round_number", "stage"), ALL_STAGES)
def test_every_object_carries_the_labels_and_dies_with_its_run(round_number: int, stage: StageName) -> None:
    run = run_of(training={"nodes": 2})
    key = StageKey(round_number, stage)
    made = children(run, round_number, stage, attempt=2)
    for entry in made:
        metadata = entry["metadata"]
        assert metadata["labels"] == stage_labels("demo", key, 2)
        assert (metadata["name"], metadata["namespace"]) == (stage_job_name("demo", key, 2), "safety")
        assert metadata["ownerReferences"] == [
            {
                "apiVersion": "hardening.dev/v1alpha1",
                "kind": "HardeningRun",
                "name": "demo",
                "uid": "uid-of-demo",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    pod_labels = child(made, "Job")["spec"]["template"]["metadata"]["labels"]
    own = {"hardening.dev/owner-uid": "uid-of-demo", "hardening.dev/workspace": "demo-workspace"}
    assert pod_labels == stage_labels("demo", key, 2) | own


TIMES = st.integers(1_700_000_000, 4_000_000_000)


def test_a_check_s_job_tells_monitor_time_and_from_the_second_on_the_attempt() -> None:
    assert check_job_name("nightly-1772420400", 1) == "nightly-1772420400"
    assert check_job_name("nightly-1772420400", 2) == "nightly-1772420400-a2"
    assert rerun_name("nightly", "nightly-1772420400") == "nightly-rerun-1772420400"
    assert re.fullmatch(r"a{28}-[0-9a-f]{8}-1772420400-a12", check_job_name(f"{'a' * 52}-1772420400", 12))


@given(RUN_NAMES, TIMES, ATTEMPTS)
def test_names_of_checks_and_reruns_are_valid_and_as_short_as_a_run_s(monitor: str, time: int, attempt: int) -> None:
    check = f"{monitor}-{time}"
    for name in (check_job_name(check, attempt), rerun_name(monitor, check)):
        assert LABEL.fullmatch(name)
        assert len(name) <= LONGEST_JOB


@given(RUN_NAMES, TIMES, ATTEMPTS, RUN_NAMES, KEYS, ATTEMPTS)
def test_a_check_is_never_named_like_a_stage(monitor: str, time: int, a: int, run: str, key: StageKey, b: int) -> None:
    assert check_job_name(f"{monitor}-{time}", a) != stage_job_name(run, key, b)


@given(RUN_NAMES, TIMES, ATTEMPTS)
def test_a_check_s_labels_tell_it_and_are_no_stage_s(monitor: str, time: int, attempt: int) -> None:
    labels = check_labels(monitor, f"{monitor}-{time}", attempt)
    assert check_of(labels) == (f"{monitor}-{time}", attempt)
    assert key_of(labels) is None
    assert check_of(stage_labels(monitor, StageKey(0, "Evaluate"), attempt)) is None
