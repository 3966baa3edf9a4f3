"""Runs as a cluster may hold them: statuses built from the contract's models, with figures from its own sums."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hardening_api.evaluation import EvaluationSet
from hardening_api.monitor import CheckRecord, HardeningMonitorStatus, MonitorBaseline, MonitorCondition
from hardening_api.stats import RateSums
from hardening_api.status import (
    AttackFigures,
    BestRound,
    EvaluationFigures,
    GateResult,
    HardeningRunStatus,
    Mean,
    Phase,
    Rate,
    RoundStatus,
    RunCondition,
    RunDecision,
    StageName,
    StageProgress,
    StageStatus,
    TrainingFigures,
)
from hardening_operator.metrics.facts import MonitorFacts, RunFacts
from hardening_operator.planner.conditions import timestamp

JUDGES = ("refusal-pattern", "guard")
SAMPLES = 200
ROUND_STAGES: tuple[StageName, ...] = ("Attack", "Score", "TrainAttacker", "TrainDefender", "Evaluate")
GPUS = {"Attack": 4, "Score": 4, "TrainAttacker": 8, "TrainDefender": 8, "Evaluate": 1, "Promote": 0}


def digest(*parts: object) -> str:
    return "sha256:" + hashlib.sha256(repr(parts).encode()).hexdigest()


def rate(share: float, samples: int = SAMPLES) -> Rate:
    found = RateSums.of([[index < round(share * samples)] for index in range(samples)]).rate()
    assert found is not None
    return found


def mean(value: float) -> Mean:
    return Mean(value=value, lower=value - 0.5, upper=value + 0.5, samples=SAMPLES)


@dataclass(frozen=True)
class Round:
    """What one round is to show."""

    harm: float = 0.1
    base_harm: float = 0.9
    wins: float = 0.7
    over_refusal: float = 0.05
    errored: float = 0.0
    auc: float = 0.85
    diversity: float = 0.8
    verdict: Any = "Pass"
    failures: int = 0
    disruptions: int = 0


def figures(shape: Round, chosen: EvaluationSet, judge: str, base: bool) -> EvaluationFigures:
    common: dict[str, Any] = {"set": chosen, "judge": judge, "judge_digest": digest(judge)}
    common |= {"errored": round(shape.errored * SAMPLES), "errored_fraction": shape.errored}
    common |= {"errored_causes": {"NoAnswer": common["errored"]} if common["errored"] else {}}
    if chosen == "benign":
        own = {"over_refusal": rate(0.02 if base else shape.over_refusal)}
        return EvaluationFigures(**common, **own, base_over_refusal=None if base else rate(0.02))
    harm = shape.base_harm if base else shape.harm
    common |= {"harm_rate": rate(harm), "direct_harmfulness": mean(10 * harm - 8)}
    if chosen == "attacked" and judge == JUDGES[0]:
        common |= {"agreement_auc": shape.auc, "agreement_spearman": shape.auc - 0.3}
    if base:
        return EvaluationFigures(**common)
    wins = {"win_rate": rate(shape.wins)} if chosen in ("original", "attacked") else {}
    return EvaluationFigures(**common, **wins, base_harm_rate=rate(shape.base_harm))


def stage(name: StageName, start: datetime, shape: Round, minutes: int = 10) -> StageStatus:
    return StageStatus(
        stage=name,
        state="Succeeded",
        attempts=1 + shape.failures + shape.disruptions,
        disruptions=shape.disruptions,
        start_time=timestamp(start),
        completion_time=timestamp(start + timedelta(minutes=minutes)),
        seconds=60.0 * minutes,
        tokens=1000,
        digest=digest(name, start),
    )


def evaluated_round(number: int, shape: Round, start: datetime) -> RoundStatus:
    sets: tuple[EvaluationSet, ...] = ("original", "attacked", "bank", "benign")
    gates = [("winRate", shape.wins, 0.5), ("harmRate", shape.harm, 0.2), ("overRefusal", shape.over_refusal, 0.1)]
    return RoundStatus(
        round=number,
        stages=[stage(name, start + timedelta(minutes=10 * i), shape) for i, name in enumerate(ROUND_STAGES)],
        attack=AttackFigures(
            variants=400,
            valid=300,
            rejected={"Copy": 40, "Empty": 60},
            diversity=mean(shape.diversity),
            self_bleu=mean(0.2),
            direct_harmfulness=mean(-3.0),
            selected_direct_harmfulness=mean(1.0),
        ),
        trainings=[
            TrainingFigures(role=role, pairs=200, steps=25, tokens=50_000, loss=0.4, rewards_margins=1.2,
                            rewards_accuracies=0.9)
            for role in ("attacker", "defender")
        ],
        evaluations=[figures(shape, chosen, judge, False) for chosen in sets for judge in JUDGES],
        gates=[
            GateResult(gate=gate, verdict=shape.verdict, judge=JUDGES[0], value=value, limit=limit, message="in words")
            for gate, value, limit in gates
        ],
        verdict=shape.verdict,
        candidate=digest("candidate", number),
    )  # fmt: skip


def base_round(shape: Round, start: datetime) -> RoundStatus:
    sets: tuple[EvaluationSet, ...] = ("original", "attacked", "benign")
    return RoundStatus(
        round=0,
        stages=[stage("Evaluate", start, shape)],
        evaluations=[figures(shape, chosen, judge, True) for chosen in sets for judge in JUDGES],
    )


def status(
    now: datetime,
    rounds: Sequence[Round],
    phase: Phase = "Running",
    reason: str = "TrainAttackerRunning",
    progress: float | None = None,
) -> HardeningRunStatus:
    """A run whose rounds took an hour each and whose last one ended just before ``now``."""
    begun = now - timedelta(hours=len(rounds) + 1)
    entries = [evaluated_round(i, shape, begun + timedelta(hours=i)) for i, shape in enumerate(rounds, start=1)]
    last = len(entries)
    ended = phase in ("Promoted", "NotPromoted", "Failed")
    running = [StageProgress(stage="Attack", round=last + 1, ratio=progress, eta_seconds=90.0)] if progress else []
    if running:
        running_stage = StageStatus(stage="Attack", state="Running", attempts=1, start_time=timestamp(now))
        entries.append(RoundStatus(round=last + 1, stages=[running_stage]))
    return HardeningRunStatus(
        conditions=[
            RunCondition(
                type="Progressing",
                status="False" if ended else "True",
                reason=reason,
                message="in words",
                last_transition_time=timestamp(now - timedelta(minutes=10)),
                observed_generation=1,
            )
        ],
        phase=phase,
        start_time=timestamp(begun),
        completion_time=timestamp(now - timedelta(minutes=1)) if ended else None,
        round=last + len(running),
        progress=running,
        base=base_round(rounds[0] if rounds else Round(), begun),
        rounds=entries,
        promoted=BestRound(round=last, digest=digest("promoted", last)) if phase == "Promoted" else None,
        decisions=[
            RunDecision(time=timestamp(now), round=last, decision="AwaitApproval", reason="GatesPass", message="asks")
        ]
        if phase == "AwaitingApproval"
        else [],
    )


def facts(name: str, given: HardeningRunStatus, namespace: str = "safety") -> RunFacts:
    return RunFacts(
        namespace, name, f"uid-of-{name}", given.to_document(), "hf://mistralai/Mistral-7B-Instruct-v0.3", gpus=GPUS
    )


def healthy_fleet(now: datetime) -> list[RunFacts]:
    """One run that was promoted and one that works on its second round; nothing to alert anyone."""
    good = [Round(harm=0.4, wins=0.55, verdict="Fail"), Round(harm=0.2, wins=0.6, failures=1), Round(harm=0.02)]
    return [
        facts("mistral-7b", status(now, good, "Promoted", "Promoted")),
        facts("llama-3-8b", status(now, [Round(harm=0.4, wins=0.6, verdict="Fail")], progress=0.4)),
    ]


def troubled_fleet(now: datetime) -> list[RunFacts]:
    """Runs that each alert of a run should fire for."""
    long_ago = now - timedelta(hours=50)
    poor = Round(harm=0.5, wins=0.2, errored=0.3, auc=0.4, diversity=0.2, verdict="Inconclusive", disruptions=2)
    bad_promotion = Round(harm=0.4, over_refusal=0.5)
    return [
        facts("worse", status(now, [Round(wins=0.8), poor], progress=0.1)),
        facts("harmful", status(now, [bad_promotion], "Promoted", "Promoted")),
        facts("stalled", status(long_ago, [Round()], progress=0.3)),
        facts("failed", status(now, [Round()], "Failed", "OutOfMemory")),
        facts("blocked", status(now, [Round(verdict="Fail")], "NotPromoted", "GatesNotPassed")),
        facts("waiting", status(long_ago, [Round()], "AwaitingApproval", "AwaitingApproval")),
    ]


def many(count: int, rounds: int = 3) -> list[RunFacts]:
    """A full cluster: one run in a hundred is live, the others ended one after the other."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ended = status(start, [Round()] * rounds, "Promoted", "Promoted")
    live = status(start, [Round()] * rounds, progress=0.5)
    return [
        facts(f"mistral-7b-instruct-{index:05}", live if index % 100 == 0 else ended, f"team-{index % 20:02}")
        for index in range(count)
    ]


def monitor(name: str, now: datetime, harm: float = 0.1, bad: int = 0, reachable: bool = True) -> MonitorFacts:
    """A daily monitor with a baseline of 0.1; one that cannot reach its target last could tell two days ago."""
    ended = now if reachable else now - timedelta(days=2)
    sets: tuple[EvaluationSet, ...] = ("original", "attacked", "bank", "benign")
    shape = Round(harm=harm, over_refusal=0.4 if bad else 0.05)
    regressed = bad >= 2
    told = CheckRecord(
        name=f"{name}-1",
        time=timestamp(ended),
        scheduled_time=timestamp(ended),
        start_time=timestamp(ended),
        verdict="Fail" if bad else "Pass",
        reason="HarmRegressed" if bad else "NoRegression",
        message="in words",
        figures=[figures(shape, chosen, JUDGES[0], False) for chosen in sets],
    )
    untold = told.model_copy(update={"verdict": "Inconclusive", "reason": "TargetUnreachable", "figures": []})
    conditions = [("Regressed", regressed, told.reason), ("TargetReachable", reachable, "Checked")]
    given = HardeningMonitorStatus(
        conditions=[
            MonitorCondition(
                type=kind,  # type: ignore[arg-type]
                status="True" if holds else "False",
                reason=reason,
                message="in words",
                last_transition_time=timestamp(ended),
            )
            for kind, holds, reason in conditions
        ],
        start_time=timestamp(now - timedelta(days=9)),
        last_check_time=timestamp(now),
        last_success_time=timestamp(ended),
        next_schedule_time=timestamp(now + timedelta(days=1)),
        consecutive_bad=bad,
        baseline=MonitorBaseline(
            source="Attested", figures=[figures(Round(), chosen, JUDGES[0], False) for chosen in sets]
        ),
        history=[told] if reachable else [told, untold],
    )
    return MonitorFacts("safety", name, f"uid-of-{name}", given.to_document())


def healthy_monitors(now: datetime) -> list[MonitorFacts]:
    return [monitor("steady", now)]


def troubled_monitors(now: datetime) -> list[MonitorFacts]:
    return [monitor("regressed", now, harm=0.6, bad=2), monitor("blind", now, reachable=False)]
