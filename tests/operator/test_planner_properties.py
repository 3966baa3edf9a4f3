"""The planner in a world where anything may happen, in any order.

A random world runs stages: they succeed, fail, are disrupted, die with their shell, or finish while being stopped.
The planner sees it late, in part and out of order; it is interrupted between storing a status and acting on it; the
run is suspended and resumed; approvals come early, late, for the wrong candidate, or say no. Then calm returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hardening_api.run import HardeningRunSpec
from hardening_api.status import TERMINAL_PHASES, HardeningRunStatus
from hardening_operator.planner.run import TRAINING_ORDER, plan
from hardening_operator.planner.types import Approval, Decision, Failure, Observed, StageKey, StageObservation
from tests.operator.world import BAD, GOOD, START, UNSURE, digest_for, promotion, result_of, spec_of

CALM_STEPS = 80
"""Once calm, every step finishes at least one stage: 4 rounds of at most 5 stages, base and promotion, and retries."""


@dataclass
class World:
    """Processes by stage and attempt, and what a shell would say of them."""

    data: st.DataObject
    spec: HardeningRunSpec
    wins: list[int]
    now: datetime = START
    status: HardeningRunStatus = field(default_factory=HardeningRunStatus)
    seen: dict[StageKey, list[StageObservation]] = field(default_factory=dict)
    """The history of each stage's newest attempt and those before, oldest first."""
    launches: list[tuple[StageKey, int]] = field(default_factory=list)
    vanished: set[tuple[StageKey, int]] = field(default_factory=set)
    stopping: set[StageKey] = field(default_factory=set)
    """Stages that were asked to stop and still save."""
    approval: Approval | None = None
    approvals: list[Approval] = field(default_factory=list)

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(strategy)

    def newest(self, key: StageKey) -> StageObservation | None:
        return self.seen[key][-1] if self.seen.get(key) else None

    def running(self) -> list[StageKey]:
        alive = [key for key in self.seen if self.is_running(key)]
        return sorted(alive, key=lambda key: key.order)

    def is_running(self, key: StageKey) -> bool:
        newest = self.newest(key)
        return newest is not None and newest.state == "Running"

    # What the shell does

    def act(self, decision: Decision) -> None:
        """Stop and start, as a shell does: an attempt that exists is not started again, and stopping takes time."""
        self.stopping |= {stop.key for stop in decision.stop}
        for key in sorted(self.stopping, key=lambda key: key.order):
            if self.is_running(key) and self.draw(st.booleans()):
                self.end(key, self.draw(st.sampled_from(["75", "killed", "stopped", "success"])))
        self.stopping = {key for key in self.stopping if self.is_running(key)}
        for start in decision.start:
            existing = self.newest(start.key)
            if existing is not None and existing.attempt >= start.attempt:
                continue
            self.check_launch(start.key)
            self.launches.append((start.key, start.attempt))
            observation = StageObservation(start.key, "Running", start.attempt, started_at=self.now)
            self.seen.setdefault(start.key, []).append(observation)

    def end(self, key: StageKey, how: str) -> None:
        """Let a running stage end."""
        newest = self.newest(key)
        assert newest is not None
        attempt = newest.attempt
        failures = {
            "64": Failure(64, "SpecRefused", "a field was refused"),
            "65": Failure(65, "DataRefused", "a row was refused"),
            "69": Failure(69, "JudgeDown", "the judge did not answer"),
            "70": Failure(70, "StageFailed", "something broke"),
            "75": Failure(75, "Interrupted", "saved and left"),
            "killed": Failure(None, "Killed", "ended by a signal"),
            "evicted": Failure(137, "Evicted", "the node was drained", disruption=True),
        }
        if how == "success":
            result = result_of(key, self.wins[key.round])
            ended = StageObservation(key, "Succeeded", attempt, newest.started_at, self.now, (result,))
        elif how == "empty":
            ended = StageObservation(key, "Succeeded", attempt, newest.started_at, self.now)
        elif how == "stopped":
            ended = StageObservation(key, "Stopped", attempt, newest.started_at, self.now)
        else:
            ended = StageObservation(key, "Failed", attempt, newest.started_at, self.now, failure=failures[how])
        self.seen[key].append(ended)

    # What the planner sees

    def observe(self, calm: bool) -> Observed:
        """Everything as it is when calm; else each stage as it was at some time, or not at all."""
        shown = {}
        for key in sorted(self.seen, key=lambda key: key.order):
            history = self.seen[key]
            if not history:
                continue
            delay = 0 if calm else self.draw(st.sampled_from([0, 0, 0, 1, 2, len(history)]))
            if delay < len(history):
                shown[key] = history[-1 - delay]
        return Observed(shown, self.approval, generation=1)

    def step(self, calm: bool) -> Decision:
        """Observe, plan, check, store; then act, unless killed in between."""
        self.now += timedelta(seconds=self.draw(st.integers(60 if calm else 0, 90)))
        observed = self.observe(calm)
        before = self.status
        decision = plan(self.spec, before, observed, self.now)
        self.check(before, decision, observed)
        self.status = HardeningRunStatus.model_validate_json(decision.status.model_dump_json())
        if calm or self.draw(st.integers(0, 9)) > 0:
            self.act(decision)
        return decision

    # What must always hold

    def check(self, before: HardeningRunStatus, decision: Decision, observed: Observed) -> None:
        again = plan(self.spec, decision.status, observed, self.now)
        assert again.status == decision.status
        assert (again.start, again.stop, again.events) == (decision.start, decision.stop, ())
        assert len({start.key for start in decision.start}) == len(decision.start)
        assert not {start.key for start in decision.start} & {stop.key for stop in decision.stop}
        for start in decision.start:
            seen = observed.stages.get(start.key)
            assert seen is None or seen.state != "Running"
            assert seen is None or not seen.results
        entries = decision.status.entries
        waiting = [stage for entry in entries for stage in entry.stages if stage.retry_time is not None]
        resting = self.spec.suspend or decision.status.phase in TERMINAL_PHASES
        assert all(stage.state == "Pending" for stage in waiting)
        assert (decision.requeue_after is None) == (resting or not waiting)
        if self.spec.suspend:
            assert not decision.start
        if before.phase in TERMINAL_PHASES:
            assert not decision.start
            assert decision.status == before
        self.check_promotion(decision)

    def check_promotion(self, decision: Decision) -> None:
        promoting = {start.key.round for start in decision.start if start.key.stage == "Promote"}
        if decision.status.promoted is not None:
            promoting.add(decision.status.promoted.round)
        for number in promoting:
            entry = decision.status.rounds[number - 1]
            if self.spec.promotion.approval == "Automatic":
                assert entry.verdict == "Pass"
            else:
                assert entry.verdict in ("Pass", "Inconclusive")
                assert any(a.digest == entry.candidate and a.decision == "Approved" for a in self.approvals)

    def check_launch(self, key: StageKey) -> None:
        """A stage is launched once at a time, and only beside the one it may run in parallel with."""
        newest = self.newest(key)
        assert newest is None or not newest.results
        beside: set[StageKey] = {other for other in self.running() if other != key}
        assert not self.is_running(key)
        if self.spec.training.order == "Parallel" and key.stage in TRAINING_ORDER["Parallel"][0]:
            partner = {StageKey(key.round, name) for name in TRAINING_ORDER["Parallel"][0]}
            assert beside <= partner
        else:
            assert not beside

    # What happens to it

    def disturb(self) -> None:
        """One thing happens."""
        happening = self.draw(
            st.sampled_from(["end", "end", "end", "vanish", "suspend", "resume", "approve", "nothing"])
        )
        alive = self.running()
        if happening == "end" and alive:
            how = ["success"] * 6 + ["64", "65", "69", "70", "75", "killed", "evicted", "empty", "stopped"]
            self.end(self.draw(st.sampled_from(alive)), self.draw(st.sampled_from(how)))
        elif happening == "vanish" and alive:
            key = self.draw(st.sampled_from(alive))
            self.vanished.add((key, self.seen[key][-1].attempt))
            self.seen[key] = []
        elif happening in ("suspend", "resume"):
            self.spec = self.spec.model_copy(update={"suspend": happening == "suspend"})
        elif happening == "approve":
            self.approve(
                self.draw(st.integers(1, self.spec.rounds)), self.draw(st.booleans()), self.draw(st.booleans())
            )

    def approve(self, number: int, yes: bool, stale: bool = False) -> None:
        digest = digest_for("stale") if stale else digest_for(number, "TrainDefender", 0)
        self.approval = Approval(digest, "Approved" if yes else "Rejected", "ada", self.now)
        self.approvals.append(self.approval)


@st.composite
def specs(draw: st.DrawFn) -> HardeningRunSpec:
    deadline = draw(st.sampled_from([None, None, 600]))
    return spec_of(
        rounds=draw(st.integers(1, 4)),
        backoffLimit=draw(st.integers(0, 2)),
        training={"order": draw(st.sampled_from(["Parallel", "AttackerFirst", "DefenderFirst"]))},
        promotion=promotion(
            stop=draw(st.sampled_from(["FirstPass", "Best"])),
            approval=draw(st.sampled_from(["Automatic", "Manual"])),
        ),
        **({"activeDeadlineSeconds": deadline} if deadline is not None else {}),
    )


WINS = st.lists(st.sampled_from([GOOD, 80, UNSURE, BAD]), min_size=5, max_size=5)


@settings(deadline=None)
@given(st.data(), specs(), WINS, st.integers(0, 60))
def test_whatever_happens_nothing_runs_twice_nothing_is_promoted_ungated_and_the_run_ends(
    data: st.DataObject, spec: HardeningRunSpec, wins: list[int], storm: int
) -> None:
    world = World(data, spec, wins)
    for _ in range(storm):
        world.disturb()
        world.step(calm=False)

    # Calm: every stage that runs succeeds and is seen; the run goes on until it rests.
    world.spec = world.spec.model_copy(update={"suspend": False})
    for _ in range(CALM_STEPS):
        for key in world.running():
            world.end(key, "success")
        world.step(calm=True)
        if world.status.phase in TERMINAL_PHASES or world.status.phase == "AwaitingApproval":
            break
    assert world.status.phase in {*TERMINAL_PHASES, "AwaitingApproval"}

    # A run that waits ends with the right person's word.
    if world.status.phase == "AwaitingApproval":
        assert world.spec.promotion.approval == "Manual"
        world.approve(world.status.round, yes=True)
        for _ in range(3):
            world.step(calm=True)
            for key in world.running():
                world.end(key, "success")
        assert world.status.phase in TERMINAL_PHASES
    world.step(calm=True)
    assert not world.running()

    # No attempt was launched a second time unless it had vanished without a trace.
    for launch in set(world.launches):
        assert world.launches.count(launch) == 1 or launch in world.vanished


@settings(deadline=None)
@given(st.data(), specs(), WINS)
def test_in_a_calm_world_every_stage_runs_exactly_once(
    data: st.DataObject, spec: HardeningRunSpec, wins: list[int]
) -> None:
    world = World(data, spec.model_copy(update={"active_deadline_seconds": None}), wins)
    for _ in range(CALM_STEPS):
        world.step(calm=True)
        for key in world.running():
            world.end(key, "success")
    assert all(attempt == 1 for _, attempt in world.launches)
    assert len(set(world.launches)) == len(world.launches)
    passes = [number for number in range(1, spec.rounds + 1) if wins[number] in (GOOD, 80)]
    expected = "NotPromoted"
    if spec.promotion.approval == "Manual" and (passes or UNSURE in wins[1 : spec.rounds + 1]):
        expected = "AwaitingApproval"
    elif passes:
        expected = "Promoted"
    assert world.status.phase == expected
