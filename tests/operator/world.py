"""A run's specs, stage results and observations for the planner's tests: data only, nothing runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from hardening_api.run import HardeningRunSpec
from hardening_api.stages import AttackSums, PromotionRecord, ScoreSums, SetSums, Shard, StageResult
from hardening_api.stats import MeanSums, OutcomeSums, PairedSums, RateSums
from hardening_api.status import HardeningRunStatus, StageName, TrainingFigures
from hardening_operator.planner.run import plan
from hardening_operator.planner.stage_configs import Role
from hardening_operator.planner.types import Approval, Decision, Failure, Observed, StageKey, StageObservation

START = datetime(2026, 1, 1, tzinfo=UTC)
JUDGE = "refusal-pattern"
GOOD, UNSURE, BAD = 95, 55, 10
"""Wins in 100 comparisons: the win-rate gate's interval lies above, around and below its limit of one half."""


def spec_of(**fields: Any) -> HardeningRunSpec:
    """A valid spec with a win-rate gate of one half; ``fields`` are camelCase and override."""
    document: dict[str, Any] = {
        "model": {"uri": "hf://org/base"},
        "data": {
            "preferences": {"uri": "file:///pairs.jsonl"},
            "evaluation": {"harmful": {"uri": "file:///held-out.jsonl"}, "benign": {"uri": "file:///benign.jsonl"}},
        },
        "rounds": 2,
        "promotion": {"gates": {"winRate": {"min": 0.5}}},
    }
    return HardeningRunSpec.model_validate(document | fields)


def promotion(**fields: Any) -> dict[str, Any]:
    """The spec's promotion section with the same gate."""
    return {"gates": {"winRate": {"min": 0.5}}} | fields


def digest_for(*parts: object) -> str:
    """A digest that depends on ``parts`` only."""
    return "sha256:" + hashlib.sha256(repr(parts).encode()).hexdigest()


def set_sums(wins: int, harmful: int = 5, n: int = 100) -> list[SetSums]:
    """Sums of one evaluation: ``wins`` of ``n`` comparisons won, ``harmful`` of ``n`` attacked answers harmful."""
    outcomes = OutcomeSums.of([["win" if index < wins else "loss"] for index in range(n)])
    return [
        SetSums(set="original", judge=JUDGE, outcomes=outcomes, asked=n),
        SetSums(set="attacked", judge=JUDGE, harmful=RateSums.of([[index < harmful] for index in range(n)]), asked=n),
        SetSums(set="benign", judge=JUDGE, refusal_pairs=PairedSums.of([(False, False)] * n), asked=n),
    ]


def result_of(key: StageKey, wins: int = GOOD, shard: Shard | None = None) -> StageResult:
    """A whole result of any stage."""
    part = shard or Shard()
    sections: dict[str, Any] = {}
    match key.stage:
        case "Attack":
            sections["attack"] = AttackSums(prompts=4, variants=16, rejected={"Copy": 2})
        case "Score":
            mean = MeanSums.of([0.5, 1.5])
            sections["score"] = ScoreSums(scored=14, direct_harmfulness=mean, selected=mean, pairs={"attacker": 4})
        case "TrainAttacker" | "TrainDefender":
            role: Role = "attacker" if key.stage == "TrainAttacker" else "defender"
            sections["training"] = TrainingFigures(role=role, pairs=4, steps=2, tokens=100)
        case "Evaluate":
            sections["evaluations"] = set_sums(wins)
        case "Promote":
            sections["promotion"] = PromotionRecord(
                digest=digest_for("files"), path="promoted/x", statement="promoted/x/statement.json"
            )
    return StageResult(
        stage=key.stage,
        round=key.round,
        shard=part,
        outcome="Succeeded",
        manifest=digest_for(key.round, key.stage, part.index),
        tokens=10,
        **sections,
    )


def succeeded(key: StageKey, attempt: int = 1, wins: int = GOOD) -> StageObservation:
    return StageObservation(key, "Succeeded", attempt, results=(result_of(key, wins),))


def running(key: StageKey, attempt: int = 1) -> StageObservation:
    return StageObservation(key, "Running", attempt)


def failed(key: StageKey, exit_code: int | None, attempt: int = 1, disruption: bool = False) -> StageObservation:
    failure = Failure(exit_code, "JudgeDown", "the judge did not answer: start it", disruption)
    return StageObservation(key, "Failed", attempt, failure=failure)


def key_of(round_number: int, stage: StageName) -> StageKey:
    return StageKey(round_number, stage)


class Run:
    """A run driven by hand: the test says what is observed, the planner answers."""

    def __init__(self, spec: HardeningRunSpec) -> None:
        self.spec = spec
        self.status = HardeningRunStatus()
        self.stages: dict[StageKey, StageObservation] = {}
        self.approval: Approval | None = None
        self.now = START
        self.retry_seconds = 0.0
        """Base delay of retries; the first of most tests comes at once."""
        self.decision = Decision(self.status)

    def plan(self, *observations: StageObservation) -> Decision:
        """Observe, let a minute pass, plan, and store the status."""
        self.stages |= {seen.key: seen for seen in observations}
        self.now += timedelta(minutes=1)
        self.decision = plan(self.spec, self.status, self.observed(), self.now, self.retry_seconds)
        self.status = self.decision.status
        return self.decision

    def observed(self) -> Observed:
        return Observed(dict(self.stages), self.approval, generation=1)

    def started(self) -> list[str]:
        """What the last decision starts, in words."""
        return [f"{start.key} {start.attempt}" for start in self.decision.start]

    def stopped(self) -> list[str]:
        return [str(stop.key) for stop in self.decision.stop]

    def finish_started(self, wins: int = GOOD) -> Decision:
        """Let everything the last decision started succeed."""
        return self.plan(*(succeeded(start.key, start.attempt, wins) for start in self.decision.start))

    def go_on_until(self, stage: StageKey, wins: int = GOOD) -> Decision:
        """Let stages succeed until ``stage`` is started."""
        self.plan()
        while stage not in [start.key for start in self.decision.start]:
            assert self.decision.start, f"the run came to rest in {self.status.phase} before {stage}"
            self.finish_started(wins)
        return self.decision

    def run_out(self, wins_by_round: Iterable[int] = (GOOD,) * 100) -> list[str]:
        """Let everything succeed until the run rests; return the starts in order."""
        wins = [0, *wins_by_round]
        self.plan()
        log: list[str] = []
        while self.decision.start:
            log += self.started()
            self.plan(*(succeeded(s.key, s.attempt, wins[s.key.round]) for s in self.decision.start))
        return log

    def approve(self, decision: Any = "Approved", digest: str | None = None) -> Decision:
        candidate = digest or digest_for(self.status.round, "TrainDefender", 0)
        self.approval = Approval(candidate, decision, "ada", self.now)
        return self.plan()

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        return next((c.status, c.reason) for c in self.status.conditions if c.type == kind)

    def events(self) -> list[str]:
        return [event.reason for event in self.decision.events]
