"""The config of a check: the Evaluate stage of the run it goes by, with the target as the candidate.

Attacker, bank and recorded answers are those of the promoted round, so that the figures stand beside the attested ones
on equal terms; the attacks themselves are drawn again by every check.
"""

from __future__ import annotations

import hashlib
from typing import Any

from hardening_api.evaluation import Evaluation
from hardening_api.monitor import ActiveCheck, HardeningMonitor, HardeningMonitorSpec
from hardening_api.run import HardeningRun
from hardening_api.stages import CheckIdentity, EvaluateConfig, RunIdentity, Shard, StageConfig, Weights, digest_of
from hardening_api.stages import stage_folder as folder_of
from hardening_api.status import BestRound
from hardening_api.training import Attacker, Scoring
from hardening_operator.planner.stage_configs import run_identity, trained_model, training_data


def check_config(
    monitor: HardeningMonitor, check: ActiveCheck, run: HardeningRun | None, workspace: str
) -> StageConfig:
    """Return the config of a check's one shard.

    Args:
        monitor: The monitor. Where it names no run, its spec has the data; a model without attacker attacks itself.
        check: The check.
        run: The promoted run that it goes by, with its status, or None where the monitor names none.
        workspace: fsspec URL of that run's workspace, or of the monitor's own.
    """
    section = _by_run(monitor.spec, run) if run is not None else _alone(monitor.spec)
    return StageConfig(
        run=run_identity(run) if run is not None else _identity(monitor),
        stage="Evaluate",
        round=promoted_round(run).round if run is not None else 0,
        check=CheckIdentity(monitor=monitor.metadata.name, name=check.name),
        workspace=workspace,
        seed=_seed(monitor.spec.seed, check.name),
        evaluate=EvaluateConfig(**section),
    )


def promoted_round(run: HardeningRun) -> BestRound:
    """Return what a run promoted. Raises ValueError when it promoted nothing."""
    if run.status is None or run.status.promoted is None or run.status.promoted.uri is None:
        raise ValueError(f"run {run.metadata.name}: got no promoted checkpoint: expected a promoted run")
    return run.status.promoted


def _by_run(spec: HardeningMonitorSpec, run: HardeningRun) -> dict[str, Any]:
    promoted, of = promoted_round(run), spec.evaluation
    shards = run.spec.stages.shards_of("Evaluate")
    settings = of.attacker or run.spec.attacker
    return {
        **_target(spec, Weights(path=promoted.uri)),
        "attacker": Weights(source=of.attacker.model)
        if of.attacker is not None and of.attacker.model is not None
        else Weights(path=trained_model(promoted.round, "attacker")),
        "reference": _reference(run, promoted.round),
        "scoring": run.spec.scoring,
        "settings": settings,
        "data": of.data or run.spec.data.evaluation,
        "training_data": training_data(run.spec),
        "attacks": run.spec.data.attacks,
        "evaluation": of.settings or run.spec.evaluation,
        "recorded": _shards(promoted.round, shards),
        "banks": [_shards(earlier, shards)[0] for earlier in range(promoted.round)],
    }


def _alone(spec: HardeningMonitorSpec) -> dict[str, Any]:
    of = spec.evaluation
    settings = of.attacker or Attacker()
    attacker = Weights(source=settings.model or spec.target.model)
    return {
        **_target(spec, None),
        "attacker": attacker,
        "reference": Weights(source=spec.target.model) if spec.target.model is not None else attacker,
        "scoring": Scoring(),
        "settings": settings,
        "data": of.data,
        "training_data": [],
        "evaluation": of.settings or Evaluation(),
    }


def _target(spec: HardeningMonitorSpec, promoted: Weights | None) -> dict[str, Any]:
    if spec.target.endpoint is not None:
        return {"endpoint": spec.target.endpoint}
    return {"candidate": Weights(source=spec.target.model) if spec.target.model is not None else promoted}


def _reference(run: HardeningRun, round_number: int) -> Weights:
    """R's reference, as the promoted round had it."""
    if run.spec.training.reference == "PreviousRound" and round_number > 1:
        return Weights(path=trained_model(round_number - 1, "defender"))
    return Weights(source=run.spec.model)


def _shards(round_number: int, count: int) -> list[str]:
    return [folder_of(round_number, "Evaluate", Shard(index=index, count=count)) for index in range(count)]


def _identity(monitor: HardeningMonitor) -> RunIdentity:
    named = {"namespace": monitor.metadata.namespace, "uid": monitor.metadata.uid}
    given = {name: value for name, value in named.items() if value is not None}
    return RunIdentity(name=monitor.metadata.name, spec_digest=digest_of(monitor.spec.to_document()), **given)


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]) % 2**31
