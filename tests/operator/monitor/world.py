"""Monitors, promoted runs and checks' results for the monitor's tests: data only, nothing runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hardening_api.monitor import HardeningMonitor, HardeningMonitorStatus
from hardening_api.run import HardeningRun
from hardening_api.stages import SetSums, StageResult
from hardening_api.stats import PairedSums, RateSums
from hardening_operator.planner.figures import evaluation_figures
from hardening_operator.planner.monitor import plan_monitor
from hardening_operator.planner.monitor_types import CheckObservation, MonitorDecision, MonitorObserved
from hardening_operator.planner.types import Failure

NIGHT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
JUDGE = "refusal-pattern"
N = 200


def monitor_of(**spec: Any) -> HardeningMonitor:
    """A monitor of run `mistral`, every day at 03:00; ``spec`` is camelCase and overrides."""
    return HardeningMonitor.model_validate(
        {
            "apiVersion": "hardening.dev/v1alpha1",
            "kind": "HardeningMonitor",
            "metadata": {"name": "nightly", "namespace": "safety"},
            "spec": {"schedule": "0 3 * * *", "target": {"run": "mistral"}, "regression": {"consecutive": 1}} | spec,
        }
    )


def sums(harmful: int, name: str = "attacked", errored: int = 0) -> SetSums:
    """One set of N judged answers."""
    rate = RateSums.of([[index < harmful] for index in range(N)])
    return SetSums.model_validate(
        {"set": name, "judge": JUDGE, "harmful": rate, "asked": N + errored, "errored": errored}
    )


def paired(only_now: int, only_then: int, both: int) -> SetSums:
    """The set `original`, every answer beside the recorded one."""
    neither = N - only_now - only_then - both
    pairs = PairedSums(both=both, only_candidate=only_now, only_base=only_then, neither=neither)
    rate = RateSums.of([[index < both + only_now] for index in range(N)])
    return SetSums.model_validate({"set": "original", "judge": JUDGE, "harmful": rate, "harm_pairs": pairs, "asked": N})


def result(*sets: SetSums, attacks: int = 0, judge: str = DIGEST) -> StageResult:
    """What a check reports."""
    return StageResult(
        stage="Evaluate",
        round=2,
        outcome="Succeeded",
        manifest=DIGEST,
        evaluations=list(sets),
        judges={JUDGE: judge},
        attacks=attacks,
    )


def promoted_run(name: str = "mistral", phase: str = "Promoted", harmful: int = 20, **spec: Any) -> HardeningRun:
    """A run that promoted its second round, with ``harmful`` of N attacked answers."""
    document = {
        "model": {"uri": "hf://org/base"},
        "attacker": {"template": "lead-in-v1"},
        "data": {
            "preferences": {"uri": "file:///pairs.jsonl"},
            "evaluation": {"harmful": {"uri": "file:///held-out.jsonl"}},
        },
        "evaluation": {"judges": [{"name": JUDGE, "type": "RefusalPattern"}]},
        "stages": {"evaluate": {"shards": 3}},
    } | spec
    status: dict[str, Any] = {"phase": phase}
    if phase == "Promoted":
        status["promoted"] = {"round": 2, "digest": DIGEST, "uri": "promoted/abc-def"}
        figures = evaluation_figures([result(sums(harmful), sums(2, "original"))])
        status["rounds"] = [{"round": 1}, {"round": 2, "evaluations": [entry.to_document() for entry in figures]}]
    return HardeningRun.model_validate(
        {
            "apiVersion": "hardening.dev/v1alpha1",
            "kind": "HardeningRun",
            "metadata": {"name": name, "namespace": "safety", "labels": {"kueue.x-k8s.io/queue-name": "gpu"}},
            "spec": document,
            "status": status,
        }
    )


@dataclass
class World:
    """Plays the shell: stores the status, starts checks, and reports what a test lets them find."""

    monitor: HardeningMonitor
    now: datetime = NIGHT
    status: HardeningMonitorStatus = field(default_factory=HardeningMonitorStatus)
    runs: dict[str, HardeningRun] = field(default_factory=lambda: {"mistral": promoted_run()})
    checks: dict[str, CheckObservation] = field(default_factory=dict)
    asked_at: datetime | None = None
    started: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    slow_to_stop: bool = False
    """Whether a check that is stopped works on until `checks` forgets it."""

    def plan(self) -> MonitorDecision:
        """Plan once and carry it out."""
        seen = MonitorObserved(checks=dict(self.checks), runs=dict(self.runs), asked_at=self.asked_at, generation=1)
        decision = plan_monitor(self.monitor, self.status, seen, self.now)
        self.status = HardeningMonitorStatus.model_validate(decision.status.to_document())
        for name in () if self.slow_to_stop else decision.stop:
            del self.checks[name]
        if decision.start is not None:
            check = decision.start.check
            self.started.append(f"{check.name}/{check.attempt}")
            self.checks[check.name] = CheckObservation(check.name, "Running", check.attempt)
        if decision.rerun is not None:
            name = decision.rerun.rerun.name
            self.runs.setdefault(name, promoted_run(name, "Running"))
        self.reasons += [event.reason for event in decision.events]
        return decision

    def at(self, day: int, hour: int = 3, minute: int = 0) -> MonitorDecision:
        """Plan at this time of March 2026."""
        self.now = datetime(2026, 3, 1, hour, minute, tzinfo=UTC) + timedelta(days=day - 1)
        return self.plan()

    def find(self, *found: SetSums, attacks: int = 0, judge: str = DIGEST) -> MonitorDecision:
        """Let the running check succeed with these sums, an hour after its start."""
        [name] = self.checks
        self.now += timedelta(hours=1)
        attempt = self.checks[name].attempt
        self.checks = {
            name: CheckObservation(
                name, "Succeeded", attempt, self.now, (result(*found, attacks=attacks, judge=judge),)
            )
        }
        decision = self.plan()
        self.checks = {}
        return decision

    def fail(self, reason: str, disruption: bool = False) -> MonitorDecision:
        """Let the running check fail."""
        [name] = self.checks
        failure = Failure(69, reason, f"{reason}: as the test wants it", disruption=disruption)
        self.checks = {name: CheckObservation(name, "Failed", self.checks[name].attempt, self.now, (), failure)}
        return self.plan()

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        return next((one.status, one.reason) for one in self.status.conditions if one.type == kind)


def due(day: int, hour: int = 3, minute: int = 0) -> str:
    """The name of the check due at this time of March 2026."""
    time = datetime(2026, 3, 1, hour, minute, tzinfo=UTC) + timedelta(days=day - 1)
    return f"nightly-{int(time.timestamp())}"


def rerun_of(day: int) -> str:
    """The name of the run that the check of this day of March 2026, at 03:00, gave rise to."""
    return due(day).replace("nightly-", "nightly-rerun-")
