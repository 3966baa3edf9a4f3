"""Statuses of a run at several moments, as the operator writes them."""

from __future__ import annotations

from typing import Any

from hardening_api.status import EvaluationFigures, HardeningRunStatus, Rate, RoundStatus, StageStatus

CANDIDATE = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


def rate(value: float, samples: int = 100) -> Rate:
    return Rate(value=value, lower=max(0.0, value - 0.07), upper=min(1.0, value + 0.08), samples=samples)


def figures(harm: float, win: float | None = None, base: float | None = None) -> list[EvaluationFigures]:
    before = None if base is None else rate(base)
    found = [
        EvaluationFigures(
            set="original", judge="guard", harm_rate=rate(harm), win_rate=None if win is None else rate(win)
        ),
        EvaluationFigures(set="attacked", judge="guard", harm_rate=rate(harm + 0.1), base_harm_rate=before),
        EvaluationFigures(set="bank", judge="guard", harm_rate=rate(harm + 0.05)),
        EvaluationFigures(set="benign", judge="guard", over_refusal=rate(0.05)),
    ]
    return found


def stage(name: Any, state: Any = "Succeeded", attempts: int = 1, **more: Any) -> StageStatus:
    began = {"start_time": "2026-11-24T10:00:00Z"}
    ended = {"completion_time": "2026-11-24T10:03:20Z", "seconds": 200.0} if state == "Succeeded" else {}
    return StageStatus(stage=name, state=state, attempts=attempts, **{**began, **ended, **more})


def first_round(**more: Any) -> RoundStatus:
    names = ("Attack", "Score", "TrainAttacker", "TrainDefender", "Evaluate")
    given = {
        "round": 1,
        "stages": [stage(name) for name in names],
        "evaluations": figures(0.1, 0.7, 0.4),
        "verdict": "Pass",
        "candidate": CANDIDATE,
    }
    return RoundStatus(**{**given, **more})


def base() -> RoundStatus:
    return RoundStatus(round=0, stages=[stage("Evaluate")], evaluations=figures(0.4))


def status(**more: Any) -> HardeningRunStatus:
    given = {
        "phase": "Running",
        "observed_generation": 1,
        "start_time": "2026-11-24T10:00:00Z",
        "round": 1,
        "base": base(),
        "rounds": [first_round()],
    }
    return HardeningRunStatus(**{**given, **more})
