"""Runs and what is made for them, for these tests."""

from __future__ import annotations

from typing import Any

from hardening_api.run import HardeningRun
from hardening_api.stages import StageConfig
from hardening_api.status import EvaluationFigures, GateResult, HardeningRunStatus, RoundStatus, StageName
from hardening_operator.planner.stage_configs import run_identity, stage_configs
from hardening_operator.planner.types import StageKey
from hardening_operator.resources import stage_objects, workspace_url
from hardening_operator.settings import OperatorSettings
from tests.operator.world import digest_for, spec_of

SETTINGS = OperatorSettings(trainer_image="registry.test/hardening-trainer:1")
ALL_STAGES: tuple[tuple[int, StageName], ...] = (
    (0, "Evaluate"),
    (1, "Attack"),
    (1, "Score"),
    (1, "TrainAttacker"),
    (1, "TrainDefender"),
    (1, "Evaluate"),
    (1, "Promote"),
)
OFFLINE = {
    "model": {"uri": "package://tiny/model"},
    "data": {
        "preferences": {"uri": "file:///data/pairs.jsonl"},
        "evaluation": {"harmful": {"uri": "file:///data/held-out.jsonl"}},
    },
    "promotion": {"gates": {"winRate": {"min": 0.5}}},
}
"""A run that needs nothing from outside its image and volumes."""


def run_of(
    name: str = "demo", labels: dict[str, str] | None = None, namespace: str = "safety", **spec: Any
) -> HardeningRun:
    """A run as the API server has it; ``spec`` overrides fields of a small one."""
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "labels": labels or {}}
    return HardeningRun.model_validate({"metadata": metadata, "spec": spec_of(**spec).to_document()})


def configs_of(run: HardeningRun, round_number: int, stage: StageName) -> list[StageConfig]:
    """What the stage is told, at the end of a run whose first round passed."""
    gate = GateResult(gate="winRate", verdict="Pass", limit=0.5, message="win rate 0.9")
    figures = EvaluationFigures(set="original", judge="refusal-pattern", judge_digest=digest_for("judge"))
    entry = RoundStatus(round=1, candidate=digest_for("candidate"), gates=[gate], evaluations=[figures])
    key = StageKey(round_number, stage)
    status = HardeningRunStatus(rounds=[entry])
    return stage_configs(run.spec, run_identity(run), status, key, workspace_url(run))


def children(
    run: HardeningRun,
    round_number: int,
    stage: StageName,
    attempt: int = 1,
    settings: OperatorSettings = SETTINGS,
) -> list[dict[str, Any]]:
    """What is made for one stage attempt."""
    configs = configs_of(run, round_number, stage)
    return stage_objects(run, settings, StageKey(round_number, stage), attempt, configs)


def child(made: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only object of a kind."""
    [found] = [entry for entry in made if entry["kind"] == kind]
    return found


def job_of(run: HardeningRun, round_number: int, stage: StageName, **more: Any) -> dict[str, Any]:
    """The Job of a stage."""
    return child(children(run, round_number, stage, **more), "Job")


def pod_of(run: HardeningRun, round_number: int, stage: StageName, **more: Any) -> dict[str, Any]:
    """The pod spec of a stage."""
    spec: dict[str, Any] = job_of(run, round_number, stage, **more)["spec"]["template"]["spec"]
    return spec


def container_of(run: HardeningRun, round_number: int, stage: StageName, **more: Any) -> dict[str, Any]:
    """The container of a stage."""
    [container] = pod_of(run, round_number, stage, **more)["containers"]
    found: dict[str, Any] = container
    return found


def environ_of(run: HardeningRun, round_number: int, stage: StageName, **more: Any) -> dict[str, Any]:
    """The variables of a stage: plain values, or where they come from."""
    return {
        variable["name"]: variable.get("value", variable.get("valueFrom"))
        for variable in container_of(run, round_number, stage, **more)["env"]
    }
