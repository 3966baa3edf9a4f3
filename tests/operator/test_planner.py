"""The planner step by step: Algorithm 1, retries, deadline, suspension, approval."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hardening_api.stages import SetSums
from hardening_api.stats import RateSums
from hardening_api.status import HardeningRunStatus
from hardening_operator.planner.run import plan
from hardening_operator.planner.types import Observed, Pace, StageObservation
from tests.operator.world import (
    BAD,
    GOOD,
    JUDGE,
    START,
    UNSURE,
    Run,
    digest_for,
    failed,
    key_of,
    promotion,
    result_of,
    running,
    set_sums,
    spec_of,
    succeeded,
)

ATTACK = key_of(1, "Attack")
SCORE = key_of(1, "Score")
ATTACKER, DEFENDER = key_of(1, "TrainAttacker"), key_of(1, "TrainDefender")
EVALUATE = key_of(1, "Evaluate")
PROMOTE = key_of(1, "Promote")
ROUND_1 = [
    "base Evaluate 1",
    "round 1 Attack 1",
    "round 1 Score 1",
    "round 1 TrainAttacker 1",
    "round 1 TrainDefender 1",
    "round 1 Evaluate 1",
]
ROUND_2 = [step.replace("round 1", "round 2") for step in ROUND_1[1:]]


# Algorithm 1


def test_a_run_starts_with_the_evaluation_of_the_base_model() -> None:
    run = Run(spec_of())
    run.plan()
    assert run.started() == ["base Evaluate 1"]
    assert (run.status.phase, run.status.round, run.status.start_time) == ("Running", 0, "2026-01-01T00:01:00Z")


def test_each_step_of_a_round_waits_for_the_one_before() -> None:
    run = Run(spec_of())
    steps = []
    run.plan()
    while run.status.phase == "Running":
        steps.append(run.started())
        run.finish_started()
    assert steps == [
        ["base Evaluate 1"],
        ["round 1 Attack 1"],
        ["round 1 Score 1"],
        ["round 1 TrainAttacker 1", "round 1 TrainDefender 1"],
        ["round 1 Evaluate 1"],
    ]
    assert (run.status.phase, run.started()) == ("Promoting", ["round 1 Promote 1"])


@pytest.mark.parametrize(
    ("order", "first", "second"),
    [("AttackerFirst", ATTACKER, DEFENDER), ("DefenderFirst", DEFENDER, ATTACKER)],
)
def test_the_trainings_can_be_told_to_follow_each_other(order: str, first: Any, second: Any) -> None:
    run = Run(spec_of(training={"order": order}))
    run.go_on_until(first)
    assert run.started() == [f"{first} 1"]
    run.plan(running(first))
    assert run.started() == []
    run.plan(succeeded(first))
    assert run.started() == [f"{second} 1"]


def test_a_parallel_training_that_ends_early_is_waited_for() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACKER)
    run.plan(succeeded(DEFENDER), running(ATTACKER))
    assert run.started() == []
    run.plan(succeeded(ATTACKER))
    assert run.started() == ["round 1 Evaluate 1"]


def test_the_first_round_that_passes_is_promoted() -> None:
    run = Run(spec_of())
    assert run.run_out([GOOD]) == [*ROUND_1, "round 1 Promote 1"]
    assert run.status.phase == "Promoted"
    assert run.condition("Promoted") == ("True", "Promoted")
    assert run.status.promoted is not None
    assert run.status.promoted.digest == digest_for("files")
    assert [entry.decision for entry in run.status.decisions] == ["Promote"]


def test_a_round_that_does_not_pass_is_followed_by_the_next() -> None:
    run = Run(spec_of())
    assert run.run_out([BAD, GOOD]) == [*ROUND_1, *ROUND_2, "round 2 Promote 1"]
    assert [(entry.round, entry.decision) for entry in run.status.decisions] == [(1, "Continue"), (2, "Promote")]
    assert [entry.verdict for entry in run.status.rounds] == ["Fail", "Pass"]


@pytest.mark.parametrize("wins", [BAD, UNSURE])
def test_a_run_without_a_pass_is_not_promoted(wins: int) -> None:
    run = Run(spec_of())
    assert run.run_out([wins, wins]) == [*ROUND_1, *ROUND_2]
    assert run.status.phase == "NotPromoted"
    assert run.condition("Promoted") == ("False", "GatesNotPassed")
    assert run.status.best is None


def test_best_runs_all_rounds_and_promotes_the_best_that_passed() -> None:
    run = Run(spec_of(rounds=3, promotion=promotion(stop="Best")))
    log = run.run_out([80, 95, 90])
    assert log[-1] == "round 2 Promote 1"
    assert run.status.best is not None
    assert run.status.best.round == 2
    assert run.status.promoted is not None
    assert run.status.promoted.round == 2


def test_of_two_equally_good_rounds_the_earlier_is_promoted() -> None:
    run = Run(spec_of(promotion=promotion(stop="Best")))
    assert run.run_out([90, 90])[-1] == "round 1 Promote 1"


def test_without_a_win_rate_gate_the_best_is_the_one_least_harmful_under_attack() -> None:
    run = Run(spec_of(promotion={"gates": {"harmRate": {"max": 0.5}}, "stop": "Best"}))
    run.go_on_until(EVALUATE)
    run.finish_started()
    run.go_on_until(key_of(2, "Evaluate"))
    harmless = result_of(key_of(2, "Evaluate")).model_copy(update={"evaluations": set_sums(GOOD, harmful=0)})
    run.plan(StageObservation(key_of(2, "Evaluate"), "Succeeded", 1, results=(harmless,)))
    assert run.started() == ["round 2 Promote 1"]


# Retries


@pytest.mark.parametrize("exit_code", [64, 65])
def test_usage_and_data_errors_fail_the_run_at_once_with_the_reason_of_the_stage(exit_code: int) -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    run.plan(failed(ATTACK, exit_code))
    assert (run.status.phase, run.started()) == ("Failed", [])
    assert run.condition("Failed") == ("True", "JudgeDown")
    assert run.status.rounds[0].stages[0].state == "Failed"
    assert "the judge did not answer" in run.status.decisions[-1].message


@pytest.mark.parametrize("exit_code", [69, 75, 70, 1, None])
def test_other_failures_are_retried_backoff_limit_times(exit_code: int | None) -> None:
    run = Run(spec_of(backoffLimit=2))
    run.go_on_until(ATTACK)
    for attempt in (1, 2):
        run.plan(failed(ATTACK, exit_code, attempt))
        assert run.started() == [f"round 1 Attack {attempt + 1}"]
        assert run.events() == ["StageRetried", "StageStarted"]
    run.plan(failed(ATTACK, exit_code, 3))
    assert run.status.phase == "Failed"
    assert run.condition("Failed") == ("True", "JudgeDown")
    assert "backoffLimit 2" in run.status.decisions[-1].message


def test_each_failure_is_retried_after_twice_the_delay_of_the_one_before() -> None:
    run = Run(spec_of(backoffLimit=20))
    run.go_on_until(ATTACK)
    run.retry_seconds = 10.0
    waits = []
    for attempt in range(1, 9):
        decision = run.plan(failed(ATTACK, 70, attempt))
        assert (run.started(), run.events()) == ([], ["StageRetried"])
        assert run.status.rounds[0].stages[0].retry_time is not None
        waits.append(decision.requeue_after)
        run.now += timedelta(seconds=320)
        run.plan()
        assert run.started() == [f"round 1 Attack {attempt + 1}"]
        assert (run.status.rounds[0].stages[0].retry_time, run.decision.requeue_after) == (None, None)
    assert waits == [10, 20, 40, 80, 160, 320, 320, 320]


def test_a_retry_that_is_not_due_is_not_started() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    run.retry_seconds = 90.0
    run.plan(failed(ATTACK, 70))
    decision = run.plan()
    assert (run.started(), decision.requeue_after) == ([], 30)
    run.plan()
    assert run.started() == ["round 1 Attack 2"]


def test_a_disrupted_stage_is_started_again_at_once() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    run.retry_seconds = 10.0
    decision = run.plan(failed(ATTACK, None, disruption=True))
    assert (run.started(), decision.requeue_after) == (["round 1 Attack 2"], None)


def test_a_suspended_run_retries_when_it_is_resumed() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    run.retry_seconds = 90.0
    run.plan(failed(ATTACK, 70))
    suspended(run)
    run.plan()
    assert (run.started(), run.decision.requeue_after) == ([], None)
    suspended(run, False)
    run.plan()
    assert run.started() == ["round 1 Attack 2"]


def test_disruptions_never_count() -> None:
    run = Run(spec_of(backoffLimit=0))
    run.go_on_until(ATTACK)
    for attempt in range(1, 6):
        run.plan(failed(ATTACK, 137, attempt, disruption=True))
        assert run.started() == [f"round 1 Attack {attempt + 1}"]
    stage = run.status.rounds[0].stages[0]
    assert (stage.attempts, stage.disruptions, stage.reason) == (6, 5, "JudgeDown")
    run.plan(failed(ATTACK, 70, 6))
    assert run.status.phase == "Failed"


def test_a_failure_seen_again_is_not_a_second_failure() -> None:
    run = Run(spec_of(backoffLimit=1))
    run.go_on_until(ATTACK)
    run.plan(failed(ATTACK, 70))
    for _ in range(5):
        run.plan(failed(ATTACK, 70))
        assert run.started() == ["round 1 Attack 2"]
        assert run.events() == []
    run.plan(running(ATTACK, 2))
    assert (run.started(), run.status.phase) == ([], "Running")


def test_a_late_sight_of_an_attempt_that_had_ended_starts_nothing() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    run.plan(failed(ATTACK, 70))
    run.plan(running(ATTACK, 1))
    assert (run.started(), run.stopped()) == ([], [])


def test_a_start_that_nobody_has_seen_is_repeated_under_its_own_number() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    run.plan()
    assert run.started() == ["round 1 Attack 1"]
    assert run.events() == []


def test_children_found_under_a_lost_status_are_taken_in_not_started_again() -> None:
    run = Run(spec_of())
    run.go_on_until(SCORE)
    run.plan(running(SCORE, 2))
    run.status = HardeningRunStatus()
    run.plan()
    assert run.started() == []
    assert [stage.attempts for stage in run.status.rounds[0].stages] == [1, 2]


def test_a_finished_stage_whose_job_was_cleaned_up_stays_finished() -> None:
    run = Run(spec_of())
    run.go_on_until(SCORE)
    run.stages.clear()
    run.plan(running(SCORE))
    assert run.started() == []


def test_a_success_without_its_results_is_run_again() -> None:
    run = Run(spec_of(stages={"attack": {"shards": 2}}))
    run.go_on_until(ATTACK)
    run.plan(succeeded(ATTACK))
    assert run.started() == ["round 1 Attack 2"]
    assert run.status.rounds[0].stages[0].reason == "ResultMissing"


def test_a_failing_training_stops_the_other_one() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACKER)
    run.plan(running(DEFENDER), failed(ATTACKER, 65))
    assert (run.status.phase, run.stopped()) == ("Failed", ["round 1 TrainDefender"])
    assert [stage.state for stage in run.status.rounds[0].stages[2:]] == ["Failed", "Stopped"]
    run.plan(running(DEFENDER))
    assert run.stopped() == ["round 1 TrainDefender"]


def test_a_promotion_that_fails_leaves_the_candidate_as_best() -> None:
    run = Run(spec_of(backoffLimit=0))
    run.go_on_until(PROMOTE)
    run.plan(failed(PROMOTE, 69))
    assert run.status.phase == "Failed"
    assert run.status.best is not None
    assert run.status.best.digest == digest_for(1, "TrainDefender", 0)
    assert run.status.promoted is None


def test_a_checkpoint_that_changed_after_its_evaluation_is_not_promoted() -> None:
    run = Run(spec_of())
    run.go_on_until(PROMOTE)
    other = result_of(DEFENDER).model_copy(update={"manifest": digest_for("another")})
    run.plan(StageObservation(DEFENDER, "Succeeded", 1, results=(other,)))
    assert (run.status.phase, run.started()) == ("Failed", [])
    assert run.condition("Failed") == ("True", "CandidateChanged")


# Deadline


def test_a_run_past_its_deadline_stops_everything_and_fails() -> None:
    run = Run(spec_of(activeDeadlineSeconds=3600))
    run.go_on_until(ATTACKER)
    run.now = START + timedelta(hours=1)
    run.plan(running(ATTACKER), running(DEFENDER))
    assert run.status.phase == "Failed"
    assert run.condition("Failed") == ("True", "DeadlineExceeded")
    assert run.stopped() == ["round 1 TrainAttacker", "round 1 TrainDefender"]


def test_a_promotion_that_was_done_by_the_deadline_counts() -> None:
    run = Run(spec_of(activeDeadlineSeconds=3600))
    run.go_on_until(PROMOTE)
    run.now = START + timedelta(hours=2)
    run.plan(succeeded(PROMOTE))
    assert run.status.phase == "Promoted"


def test_the_time_a_person_takes_does_not_count_against_the_deadline() -> None:
    run = Run(spec_of(activeDeadlineSeconds=3600, promotion=promotion(approval="Manual")))
    run.run_out([GOOD])
    run.now += timedelta(days=3)
    run.plan()
    assert run.status.phase == "AwaitingApproval"
    run.approve()
    assert run.started() == ["round 1 Promote 1"]
    run.now += timedelta(hours=1)
    run.plan(running(PROMOTE))
    assert run.condition("Failed") == ("True", "DeadlineExceeded")


# Suspension


def suspended(run: Run, suspend: bool = True) -> None:
    run.spec = run.spec.model_copy(update={"suspend": suspend})


def test_a_run_suspended_from_the_start_starts_nothing() -> None:
    run = Run(spec_of(suspend=True))
    run.plan()
    assert (run.status.phase, run.started(), run.status.start_time) == ("Suspended", [], None)
    suspended(run, False)
    run.plan()
    assert run.started() == ["base Evaluate 1"]


def test_suspending_stops_the_running_stages_and_resuming_starts_them_again_uncounted() -> None:
    run = Run(spec_of(backoffLimit=0))
    run.go_on_until(ATTACKER)
    suspended(run)
    run.plan(running(ATTACKER), running(DEFENDER))
    assert run.stopped() == ["round 1 TrainAttacker", "round 1 TrainDefender"]
    assert (run.status.phase, run.condition("Suspended")) == ("Suspended", ("True", "Suspended"))
    run.plan(failed(ATTACKER, 75), StageObservation(DEFENDER, "Stopped", 1))
    assert (run.started(), run.stopped()) == ([], [])
    suspended(run, False)
    run.plan()
    assert run.started() == ["round 1 TrainAttacker 2", "round 1 TrainDefender 2"]
    assert run.status.phase == "Running"
    assert "Resumed" in run.events()


@pytest.mark.parametrize("exit_code", [None, 75, 137, 143, -9])
def test_a_stage_still_saving_when_the_run_resumes_is_started_after_it_has_ended(exit_code: int | None) -> None:
    run = Run(spec_of(backoffLimit=0))
    run.go_on_until(ATTACK)
    suspended(run)
    run.plan(running(ATTACK))
    suspended(run, False)
    run.plan()
    assert (run.started(), run.stopped()) == ([], ["round 1 Attack"])
    run.plan(failed(ATTACK, exit_code))
    assert run.started() == ["round 1 Attack 2"]


def test_a_stage_that_succeeds_while_suspended_is_taken_in() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    suspended(run)
    run.plan(succeeded(ATTACK))
    assert (run.status.phase, run.started()) == ("Suspended", [])
    suspended(run, False)
    run.plan()
    assert run.started() == ["round 1 Score 1"]


def test_a_stage_that_fails_for_good_while_it_is_asked_to_stop_fails_the_run() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    suspended(run)
    run.plan(running(ATTACK))
    run.plan(failed(ATTACK, 65))
    assert run.status.phase == "Failed"


# Approval


def manual(wins: list[int]) -> Run:
    run = Run(spec_of(promotion=promotion(approval="Manual")))
    run.run_out(wins)
    return run


def test_a_candidate_that_passed_waits_for_a_person() -> None:
    run = manual([GOOD])
    assert (run.status.phase, run.condition("Promoted")) == ("AwaitingApproval", ("False", "AwaitingApproval"))
    assert run.status.decisions[-1].decision == "AwaitApproval"
    assert digest_for(1, "TrainDefender", 0) in run.status.decisions[-1].message


def test_an_approved_candidate_is_promoted_and_the_approver_recorded() -> None:
    run = manual([GOOD])
    run.approve()
    assert run.started() == ["round 1 Promote 1"]
    approved = next(entry for entry in run.status.decisions if entry.decision == "Approved")
    assert (approved.approver, approved.round) == ("ada", 1)
    run.approval = None
    run.plan(succeeded(PROMOTE))
    assert run.status.phase == "Promoted"


def test_a_rejected_candidate_is_not_promoted() -> None:
    run = manual([GOOD])
    run.approve("Rejected")
    assert (run.status.phase, run.started()) == ("NotPromoted", [])
    assert run.condition("Promoted") == ("False", "Rejected")


def test_an_approval_of_another_candidate_is_stale_and_said_so_once() -> None:
    run = manual([GOOD])
    run.approve(digest=digest_for("another"))
    assert (run.status.phase, run.started(), run.events()) == ("AwaitingApproval", [], ["ApprovalStale"])
    run.plan()
    assert run.events() == []


def test_a_gate_out_of_reach_is_said_once_and_as_soon_as_the_base_is_measured() -> None:
    run = Run(spec_of())
    run.plan()
    harmless = SetSums(set="original", judge=JUDGE, harmful=RateSums.of([[False]] * 100), asked=100)
    result = result_of(key_of(0, "Evaluate")).model_copy(update={"evaluations": [harmless]})
    run.plan(StageObservation(key_of(0, "Evaluate"), "Succeeded", 1, results=(result,)))
    assert "GateOutOfReach" in run.events()
    assert run.condition("GatePassed") == ("Unknown", "GateOutOfReach")
    assert run.started() == ["round 1 Attack 1"]
    run.finish_started()
    assert "GateOutOfReach" not in run.events()
    assert run.condition("GatePassed") == ("Unknown", "GateOutOfReach")


def test_a_person_may_decide_where_the_figures_cannot() -> None:
    run = manual([BAD, UNSURE])
    assert (run.status.phase, run.status.round) == ("AwaitingApproval", 2)
    run.approve()
    assert run.started() == ["round 2 Promote 1"]


def test_a_failing_candidate_cannot_be_approved() -> None:
    run = manual([BAD, BAD])
    assert run.status.phase == "NotPromoted"
    run.approve(digest=digest_for(2, "TrainDefender", 0))
    assert (run.status.phase, run.started()) == ("NotPromoted", [])


def test_an_approval_does_not_excuse_the_gates() -> None:
    run = Run(spec_of(promotion=promotion(approval="Manual")))
    run.go_on_until(EVALUATE)
    run.approve(digest=digest_for(1, "TrainDefender", 0))
    run.plan(succeeded(EVALUATE, wins=BAD))
    assert run.started() == ["round 2 Attack 1"]


# Status


@pytest.mark.parametrize("wins", [GOOD, BAD])
def test_a_run_that_has_ended_stays_as_it_is(wins: int) -> None:
    run = Run(spec_of())
    run.run_out([wins, wins])
    ended = run.status
    suspended(run)
    run.approve()
    run.plan(running(ATTACK, 7), failed(SCORE, 65, 9))
    assert (run.status, run.started(), run.stopped()) == (ended, [], ["round 1 Attack"])


def test_a_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    run = Run(spec_of())
    run.run_out([BAD, GOOD])
    times = {condition.type: condition.last_transition_time for condition in run.status.conditions}
    assert times["Accepted"] == times["Failed"] == "2026-01-01T00:01:00Z"
    assert times["GatePassed"] < times["Promoted"] == times["Progressing"] == run.status.completion_time


def test_the_status_speaks_of_the_observed_generation_and_shows_progress() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    run.plan(StageObservation(ATTACK, "Running", 1, progress=Pace(0.25, 30.0)))
    assert run.status.observed_generation == 1
    assert {condition.observed_generation for condition in run.status.conditions} == {1}
    assert [part.to_document() for part in run.status.progress] == [
        {"stage": "Attack", "round": 1, "ratio": 0.25, "etaSeconds": 30.0}
    ]


def test_a_stage_keeps_its_times_tokens_and_digest() -> None:
    run = Run(spec_of())
    run.go_on_until(ATTACK)
    begun = run.now + timedelta(seconds=5)
    run.plan(
        StageObservation(ATTACK, "Succeeded", 1, begun, begun + timedelta(seconds=7.5), results=(result_of(ATTACK),))
    )
    stage = run.status.rounds[0].stages[0]
    assert (stage.seconds, stage.tokens, stage.digest) == (7.5, 10, digest_for(1, "Attack", 0))


def test_every_status_is_valid_under_the_contract() -> None:
    run = Run(spec_of())
    run.run_out([BAD, GOOD])
    assert HardeningRunStatus.model_validate_json(run.status.model_dump_json()) == run.status


def test_the_same_inputs_give_the_same_decision() -> None:
    run = Run(spec_of())
    run.go_on_until(SCORE)
    observed = run.observed()
    backwards = Observed(dict(reversed(list(observed.stages.items()))), generation=1)
    assert plan(run.spec, run.status, observed, run.now) == plan(run.spec, run.status, backwards, run.now)
