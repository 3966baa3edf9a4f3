"""The monitor's planner, step by step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hardening_api.status import Rate
from hardening_operator.planner.monitor_types import CheckObservation
from tests.operator.monitor.world import NIGHT, World, due, monitor_of, promoted_run, rerun_of, sums


@pytest.fixture
def world() -> World:
    """A daily monitor that was first seen on the first of March at noon."""
    world = World(monitor_of())
    world.plan()
    return world


def test_a_new_monitor_waits_for_its_first_time(world: World) -> None:
    assert world.started == []
    assert world.status.next_schedule_time == "2026-03-02T03:00:00Z"
    assert world.status.baseline is not None
    assert (world.status.baseline.source, world.status.baseline.run) == ("Attested", "mistral")
    assert world.condition("Ready") == ("True", "Ready")
    assert world.condition("Regressed") == ("Unknown", "NotChecked")
    assert world.condition("TargetReachable") == ("Unknown", "NotChecked")


def test_a_check_starts_at_its_time_once(world: World) -> None:
    assert world.at(2, 2, 59).start is None
    decision = world.at(2)
    assert decision.start is not None
    assert decision.start.check.name == due(2)
    assert decision.start.run is not None
    assert world.status.last_schedule_time == "2026-03-02T03:00:00Z"
    for minute in range(5):
        world.at(2, 3, minute)
    assert world.started == [f"{due(2)}/1"]


def test_planning_again_changes_nothing(world: World) -> None:
    world.at(2)
    before = world.status
    decision = world.plan()
    assert (world.status, decision.start, decision.events) == (before, None, ())


def test_a_check_that_was_stored_but_never_started_is_started_again(world: World) -> None:
    world.at(2)
    world.checks = {}
    world.at(2, 3, 1)
    assert world.started == [f"{due(2)}/1"] * 2


def test_a_good_check_is_kept_with_its_figures_and_interval(world: World) -> None:
    world.at(2)
    world.find(sums(21))
    [record] = world.status.history
    assert (record.verdict, record.reason, record.name) == ("Pass", "NoRegression", due(2))
    assert (record.scheduled_time, record.time) == ("2026-03-02T03:00:00Z", "2026-03-02T04:00:00Z")
    [figures] = record.figures
    assert isinstance(figures.harm_rate, Rate)
    assert (figures.set, figures.harm_rate.value, figures.harm_rate.samples) == ("attacked", 0.105, 200)
    assert record.changes[0].change.lower < 0 < record.changes[0].change.upper
    assert world.status.last_success_time == world.status.last_check_time == record.time
    assert world.condition("Regressed") == ("False", "NoRegression")
    assert world.condition("TargetReachable") == ("True", "TargetAnswered")


def test_the_condition_turns_true_after_so_many_bad_checks_and_false_after_a_good_one() -> None:
    world = World(monitor_of(regression={"consecutive": 2}))
    world.plan()
    world.at(2)
    world.find(sums(80))
    assert (world.status.consecutive_bad, world.condition("Regressed")) == (1, ("False", "BadChecksBelowLimit"))
    world.at(3)
    world.find(sums(80))
    assert (world.status.consecutive_bad, world.condition("Regressed")) == (2, ("True", "HarmRegressed"))
    assert world.reasons.count("Regressed") == 1
    world.at(4)
    world.find(sums(80))
    assert world.reasons.count("Regressed") == 1
    world.at(5)
    world.find(sums(20))
    assert (world.status.consecutive_bad, world.condition("Regressed")) == (0, ("False", "NoRegression"))
    assert world.reasons.count("Resolved") == 1


@pytest.mark.parametrize("reason", ["TargetUnreachable", "JudgeUnavailable", "OutOfMemory"])
def test_a_check_that_could_not_tell_neither_counts_nor_breaks_the_row(reason: str) -> None:
    world = World(monitor_of(regression={"consecutive": 2}))
    world.plan()
    world.at(2)
    world.find(sums(80))
    world.at(3)
    world.fail(reason)
    assert world.status.history[-1].verdict == "Inconclusive"
    assert world.status.history[-1].reason == reason
    assert world.status.consecutive_bad == 1
    assert world.status.last_success_time == "2026-03-02T04:00:00Z"
    assert world.status.last_check_time == "2026-03-03T03:00:00Z"
    world.checks = {}
    world.at(4)
    world.find(sums(80))
    assert world.condition("Regressed") == ("True", "HarmRegressed")


def test_an_unreachable_target_has_its_own_condition_and_is_no_regression(world: World) -> None:
    world.at(2)
    world.fail("TargetUnreachable")
    assert world.condition("TargetReachable") == ("False", "TargetUnreachable")
    assert world.condition("Regressed") == ("Unknown", "NotChecked")
    world.checks = {}
    world.at(3)
    world.fail("JudgeUnavailable")
    assert world.condition("TargetReachable") == ("False", "TargetUnreachable")
    world.checks = {}
    world.at(4)
    world.find(sums(20))
    assert world.condition("TargetReachable") == ("True", "TargetAnswered")


def test_a_disrupted_check_goes_on_with_another_attempt_and_in_the_end_is_given_up(world: World) -> None:
    world.at(2)
    for attempt in range(2, 11):
        world.fail("PodLost", disruption=True)
        assert world.started[-1] == f"{due(2)}/{attempt}"
    world.fail("PodLost", disruption=True)
    assert len(world.started) == 10
    assert (world.status.history[-1].reason, world.status.active) == ("PodLost", None)


def test_a_check_without_a_whole_result_could_not_tell(world: World) -> None:
    world.at(2)
    world.checks = {due(2): CheckObservation(due(2), "Succeeded", 1, world.now)}
    world.plan()
    assert (world.status.history[-1].verdict, world.status.history[-1].reason) == ("Inconclusive", "ResultMissing")


def test_a_check_that_takes_too_long_is_stopped() -> None:
    world = World(monitor_of(activeDeadlineSeconds=600))
    world.plan()
    world.at(2)
    assert world.at(2, 3, 9).stop == ()
    assert world.at(2, 3, 10).stop == (due(2),)
    assert world.status.history[-1].reason == "DeadlineExceeded"


def test_of_the_times_that_passed_only_the_last_is_made_up_for(world: World) -> None:
    world.at(9, 18)
    assert world.started == [f"{due(9)}/1"]
    assert world.status.last_schedule_time == "2026-03-09T03:00:00Z"


def test_a_time_that_passed_longer_ago_than_the_starting_deadline_is_left_out_and_told_once() -> None:
    world = World(monitor_of(startingDeadlineSeconds=600))
    world.plan()
    world.at(2, 3, 11)
    world.at(2, 3, 12)
    assert world.started == []
    assert world.reasons.count("CheckMissed") == 1
    world.at(3, 3, 10)
    assert world.started == [f"{due(3)}/1"]


def test_forbid_lets_the_next_wait_and_makes_up_for_it() -> None:
    world = World(monitor_of(schedule="0 * * * *"))
    world.plan()
    world.at(2, 3)
    world.at(2, 5, 10)
    assert world.started == [f"{due(2)}/1"]
    world.find(sums(20))
    assert world.started == [f"{due(2)}/1", f"{due(2, 6)}/1"]


def test_replace_stops_the_running_check_and_starts_the_next_once_it_is_seen_gone() -> None:
    world = World(monitor_of(schedule="0 * * * *", concurrencyPolicy="Replace"))
    world.plan()
    world.at(2, 3)
    decision = world.at(2, 4)
    assert (decision.stop, decision.start) == ((due(2, 3),), None)
    world.plan()
    assert world.started[-1] == f"{due(2, 4)}/1"
    assert world.status.history[-1].reason == "Replaced"


def test_nothing_starts_while_suspended_and_the_last_time_is_made_up_for_afterwards() -> None:
    world = World(monitor_of(suspend=True))
    for day in range(1, 6):
        world.at(day, 12)
    assert world.started == []
    assert world.condition("Suspended") == ("True", "Suspended")
    assert world.status.next_schedule_time is None
    world.monitor = monitor_of()
    world.at(6, 12)
    assert world.started == [f"{due(6)}/1"]


def test_a_check_that_runs_when_the_monitor_is_suspended_goes_on() -> None:
    world = World(monitor_of())
    world.plan()
    world.at(2)
    world.monitor = monitor_of(suspend=True)
    assert world.at(2, 3, 1).stop == ()
    world.find(sums(20))
    assert world.status.history[-1].verdict == "Pass"


def test_a_check_can_be_asked_for_apart_from_the_schedule(world: World) -> None:
    world.now = world.asked_at = NIGHT + timedelta(hours=2, microseconds=1)
    world.plan()
    assert world.started == [f"nightly-{int(world.asked_at.timestamp())}/1"]
    world.find(sums(20))
    world.plan()
    assert len(world.started) == 1
    world.at(2)
    assert world.started[1:] == [f"{due(2)}/1"]


def test_a_check_asked_for_that_waits_past_a_scheduled_time_answers_both(world: World) -> None:
    world.monitor = monitor_of(concurrencyPolicy="Replace")
    promoted, world.runs = world.runs, {}
    world.now = world.asked_at = NIGHT + timedelta(hours=2)
    world.plan()
    world.at(2)
    world.runs = promoted
    world.plan()
    world.plan()
    assert world.started == [f"{due(2)}/1"]
    assert "Replaced" not in [record.reason for record in world.status.history]


def test_a_check_can_be_asked_for_before_the_monitor_was_ever_seen() -> None:
    world = World(monitor_of(), now=NIGHT + timedelta(seconds=1, microseconds=1), asked_at=NIGHT)
    world.plan()
    world.plan()
    assert world.started == [f"nightly-{int(NIGHT.timestamp())}/1"]


def test_a_schedule_without_a_date_is_not_ready() -> None:
    world = World(monitor_of(schedule="0 0 31 2 *"))
    world.plan()
    assert world.condition("Ready") == ("False", "InvalidSchedule")


@pytest.mark.parametrize(
    ("runs", "reason"),
    [({}, "RunNotFound"), ({"mistral": promoted_run(phase="Running")}, "RunNotPromoted")],
    ids=["absent", "running"],
)
def test_a_run_that_promoted_nothing_lets_no_check_start(runs: dict[str, object], reason: str) -> None:
    world = World(monitor_of(), runs=runs)  # type: ignore[arg-type]
    world.plan()
    world.at(2)
    assert (world.started, world.condition("Ready")) == ([], ("False", reason))


def test_a_run_that_disappears_during_a_check_leaves_it_unable_to_tell(world: World) -> None:
    world.at(2)
    world.runs = {}
    world.find(sums(80))
    assert (world.status.history[-1].verdict, world.status.history[-1].reason) == ("Inconclusive", "RunNotFound")
    assert world.status.consecutive_bad == 0


def test_given_figures_take_the_place_of_the_attested_ones() -> None:
    figures = [{"set": "attacked", "harmRate": 0.4, "samples": 1000}]
    world = World(monitor_of(baseline={"figures": figures}))
    world.plan()
    world.at(2)
    world.find(sums(80))
    assert world.status.history[-1].verdict == "Pass"
    assert world.status.baseline is not None
    assert world.status.baseline.source == "Given"


def test_history_is_bounded_and_keeps_the_newest() -> None:
    world = World(monitor_of(historyLimit=3))
    world.plan()
    for day in range(2, 8):
        world.at(day)
        world.find(sums(20))
    assert [record.name for record in world.status.history] == [due(5), due(6), due(7)]


RERUN = {"onRegression": "Rerun", "rerun": {"maxReruns": 2, "coolDownSeconds": 3 * 86_400}}


def test_a_regression_creates_a_rerun_seeded_by_the_bad_check() -> None:
    world = World(monitor_of(**RERUN))
    world.plan()
    world.at(2)
    decision = world.find(sums(80), attacks=17)
    assert decision.rerun is not None
    assert decision.rerun.attacks == 17
    assert decision.rerun.source.metadata.name == "mistral"
    [record] = world.status.reruns
    assert (record.name, record.check, record.source) == (rerun_of(2), due(2), "mistral")
    assert "RerunCreated" in world.reasons


def test_only_alerting_creates_no_rerun(world: World) -> None:
    world.at(2)
    assert world.find(sums(80), attacks=17).rerun is None


def test_a_rerun_that_was_stored_but_not_created_is_asked_for_until_it_is_there() -> None:
    world = World(monitor_of(**RERUN))
    world.plan()
    world.at(2)
    first = world.find(sums(80), attacks=17).rerun
    del world.runs[rerun_of(2)]
    again = world.plan().rerun
    assert first is not None
    assert again is not None
    assert (again.rerun.name, again.attacks) == (first.rerun.name, first.attacks)
    assert world.plan().rerun is None
    assert world.status.reruns[0].phase == "Running"
    del world.runs[rerun_of(2)]
    assert world.plan().rerun is None  # it was seen, and somebody deleted it


def test_the_next_rerun_waits_for_the_last_the_cool_down_and_new_evidence() -> None:
    world = World(monitor_of(**RERUN))
    world.plan()
    for day in (2, 3, 4):
        world.at(day)
        world.find(sums(80))
    assert len(world.status.reruns) == 1
    world.runs[rerun_of(2)] = promoted_run(rerun_of(2), "NotPromoted")
    assert world.at(5, 2).rerun is None
    assert world.at(5, 4, 1).rerun is not None
    assert len(world.status.reruns) == 2
    world.runs[rerun_of(4)] = promoted_run(rerun_of(4), "NotPromoted")
    for day in range(6, 20):
        world.at(day)
        world.find(sums(80))
    assert len(world.status.reruns) == 2


def test_the_monitor_of_a_run_follows_a_rerun_that_was_promoted_and_resolves() -> None:
    world = World(monitor_of(**RERUN))
    world.plan()
    world.at(2)
    world.find(sums(80))
    world.runs[rerun_of(2)] = promoted_run(rerun_of(2), harmful=4)
    decision = world.at(3)
    assert decision.start is not None
    assert decision.start.run is not None
    assert decision.start.run.metadata.name == rerun_of(2)
    assert world.status.baseline is not None
    assert world.status.baseline.run == rerun_of(2)
    world.find(sums(5))
    assert world.condition("Regressed") == ("False", "NoRegression")


def test_what_is_served_is_measured_by_the_run_it_names_whatever_reruns_there_are() -> None:
    endpoint = {"endpoint": {"baseUrl": "http://llm/v1", "model": "m"}}
    world = World(monitor_of(target=endpoint, evaluation={"run": "mistral"}, **RERUN))
    world.plan()
    world.at(2)
    world.find(sums(80))
    world.runs[rerun_of(2)] = promoted_run(rerun_of(2))
    world.at(3)
    assert world.status.baseline is not None
    assert world.status.baseline.run == "mistral"


def test_a_check_in_another_time_zone_is_due_by_its_clock() -> None:
    world = World(monitor_of(timeZone="Asia/Tokyo"))
    world.plan()
    world.at(1, 18)
    assert world.started == [f"nightly-{int(datetime(2026, 3, 1, 18, tzinfo=UTC).timestamp())}/1"]
