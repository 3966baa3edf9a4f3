"""Whatever happens in whatever order, a monitor keeps its promises."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hardening_api.monitor import HardeningMonitorStatus
from hardening_operator.planner.monitor import plan_monitor
from hardening_operator.planner.monitor_types import CheckObservation, MonitorObserved
from hardening_operator.planner.types import Failure
from tests.operator.monitor.world import World, monitor_of, promoted_run, result, sums

HAPPENINGS = (
    "wait", "day", "good", "bad", "unreachable", "disrupted", "lost", "suspend", "resume", "gone", "back", "promoted",
    "failed", "asked", "clock back", "leaves",
)  # fmt: skip
Happenings = st.lists(st.sampled_from(HAPPENINGS), max_size=40)
Specs = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(["0 * * * *", "*/20 * * * *", "0 3 * * *"]),
        "timeZone": st.sampled_from(["Etc/UTC", "Europe/Berlin"]),
        "concurrencyPolicy": st.sampled_from(["Forbid", "Replace"]),
        "historyLimit": st.integers(1, 4),
        "onRegression": st.sampled_from(["Alert", "Rerun"]),
        "rerun": st.fixed_dictionaries({"maxReruns": st.integers(1, 3), "coolDownSeconds": st.sampled_from([0, 7200])}),
        "regression": st.fixed_dictionaries({"consecutive": st.integers(1, 3)}),
    },
    optional={"startingDeadlineSeconds": st.sampled_from([10, 3600]), "activeDeadlineSeconds": st.just(5400)},
)


def happen(world: World, what: str) -> None:
    """Change the world as its name says."""
    name = next(iter(world.checks), None)
    seen = world.checks.get(name) if name is not None else None
    failures = {"unreachable": "TargetUnreachable", "disrupted": "PodLost"}
    if what in ("good", "bad") and seen is not None:
        found = (result(sums(20 if what == "good" else 90), attacks=3),)
        world.checks[seen.name] = CheckObservation(seen.name, "Succeeded", seen.attempt, world.now, found)
    elif what in failures and seen is not None:
        failure = Failure(69, failures[what], "as the test wants it", disruption=what == "disrupted")
        world.checks[seen.name] = CheckObservation(seen.name, "Failed", seen.attempt, world.now, (), failure)
    elif what == "leaves":
        active = world.status.active.name if world.status.active is not None else None
        world.checks = {name: seen for name, seen in world.checks.items() if name == active}
    elif what == "lost":
        world.checks = {}
    elif what in ("suspend", "resume"):
        spec = world.monitor.spec.model_copy(update={"suspend": what == "suspend"})
        world.monitor = world.monitor.model_copy(update={"spec": spec})
    elif what in ("gone", "back"):
        world.runs = {} if what == "gone" else {"mistral": promoted_run()}
    elif what in ("promoted", "failed"):
        phase = "Promoted" if what == "promoted" else "Failed"
        world.runs |= {record.name: promoted_run(record.name, phase) for record in world.status.reruns}
    elif what == "asked":
        world.asked_at = world.now
    else:
        world.now += {"wait": timedelta(minutes=17), "day": timedelta(days=1)}.get(what, timedelta(hours=-3))


EVERY_HOUR = {
    "schedule": "0 * * * *",
    "timeZone": "Etc/UTC",
    "historyLimit": 1,
    "onRegression": "Alert",
    "rerun": {"maxReruns": 1, "coolDownSeconds": 0},
    "regression": {"consecutive": 1},
}
GIVEN_UP = EVERY_HOUR | {"concurrencyPolicy": "Forbid", "activeDeadlineSeconds": 5400}
REPLACED = EVERY_HOUR | {"concurrencyPolicy": "Replace"}


@settings(deadline=None)
@given(spec=Specs, happenings=Happenings, slow=st.booleans())
@example(spec=GIVEN_UP, happenings=["wait", "day", "day"], slow=False)
@example(spec=GIVEN_UP | {"startingDeadlineSeconds": 3600}, happenings=["wait"] * 10, slow=False)
@example(spec=GIVEN_UP | {"startingDeadlineSeconds": 3600}, happenings=["wait"] * 10, slow=True)
@example(spec=REPLACED, happenings=["wait"] * 10, slow=True)
def test_a_monitor_keeps_its_promises(spec: dict[str, object], happenings: list[str], slow: bool) -> None:
    world = World(monitor_of(**spec), slow_to_stop=slow)
    for what in happenings:
        happen(world, what)
        before = {name for name, seen in world.checks.items() if seen.state == "Running"}
        decision = world.plan()
        running = {name for name, seen in world.checks.items() if seen.state == "Running"}
        assert len(running) <= 1
        if decision.start is not None:
            assert before <= {decision.start.check.name}
            assert decision.stop == ()
        if world.monitor.spec.suspend:
            assert decision.start is None
            assert decision.status.active in (None, world.status.active)
        assert len(decision.status.history) <= world.monitor.spec.history_limit
        assert len(decision.status.reruns) <= world.monitor.spec.rerun.max_reruns
        if world.monitor.spec.on_regression == "Alert":
            assert decision.rerun is None
        assert len({record.name for record in decision.status.history}) == len(decision.status.history)


@settings(deadline=None)
@given(spec=Specs, happenings=Happenings)
@example(spec=REPLACED, happenings=["wait", "wait", "wait", "gone", "asked", "wait", "back"])
def test_planning_is_deterministic_and_settles_at_once(spec: dict[str, object], happenings: list[str]) -> None:
    world = World(monitor_of(**spec))
    for what in happenings:
        happen(world, what)
        seen = MonitorObserved(dict(world.checks), dict(world.runs), world.asked_at, 1)
        first = plan_monitor(world.monitor, world.status, seen, world.now)
        assert plan_monitor(world.monitor, world.status, seen, world.now) == first
        stored = HardeningMonitorStatus.model_validate(first.status.to_document())
        assert stored == first.status
        if first.stop:  # after a check was given up, the next decision may start one
            stored = plan_monitor(world.monitor, stored, seen, world.now).status
        again = plan_monitor(world.monitor, stored, seen, world.now)
        assert [event.reason for event in again.events if event.reason in ("CheckStarted", "RerunCreated")] == []
        assert again.status.history == first.status.history
        world.plan()
