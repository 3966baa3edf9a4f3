"""The inputs of each stage: its `StageConfig`, one a shard.

Weights flow from round to round: round t attacks with the attacker and scores with the defender that round t-1 left
(in round 1 the base models), trains both from there, and evaluates what came out.
"""

from __future__ import annotations

import hashlib
from typing import Any

from hardening_api.run import DECIDES_NO_OUTPUT, HardeningRun, HardeningRunSpec
from hardening_api.sources import DataSource
from hardening_api.stages import (
    TRAININGS,
    AttackConfig,
    EvaluateConfig,
    PromoteConfig,
    RunIdentity,
    ScoreConfig,
    Shard,
    StageConfig,
    TrainConfig,
    Weights,
    digest_of,
    stage_folder,
)
from hardening_api.status import HardeningRunStatus, StageName
from hardening_api.training import Role
from hardening_operator.planner.types import StageKey


def spec_digest(spec: HardeningRunSpec) -> str:
    """Return the digest of what decides a run's outputs; suspending a run does not change it."""
    return digest_of(spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=set(DECIDES_NO_OUTPUT)))


def run_identity(run: HardeningRun) -> RunIdentity:
    """Return who ``run`` is, for its stages."""
    named = {"namespace": run.metadata.namespace, "uid": run.metadata.uid}
    given = {name: value for name, value in named.items() if value is not None}
    return RunIdentity(name=run.metadata.name, spec_digest=spec_digest(run.spec), **given)


def stage_seed(seed: int, key: StageKey) -> int:
    """Return the seed of a stage: the same for all its shards, another one for every stage and round."""
    digest = hashlib.sha256(f"{seed}/{key.round}/{key.stage}".encode()).digest()
    return int.from_bytes(digest[:8]) % 2**31


def stage_configs(
    spec: HardeningRunSpec, identity: RunIdentity, status: HardeningRunStatus, key: StageKey, workspace: str
) -> list[StageConfig]:
    """Return the configs of one stage, one a shard.

    ``status`` is the one decided together with the start; Promote takes the candidate, its verdicts and the approver
    from it. ``workspace`` is an fsspec URL. URIs are passed on as they are: a caller with relative `file://` URIs
    makes them absolute first.
    """
    count = spec.stages.shards_of(key.stage)
    return [
        StageConfig(
            run=identity,
            stage=key.stage,
            round=key.round,
            shard=shard,
            workspace=workspace,
            seed=stage_seed(spec.training.seed, key),
            **_section(spec, status, key, shard),
        )
        for shard in (Shard(index=index, count=count) for index in range(count))
    ]


def trained_model(round_number: int, role: Role) -> str:
    """Return the workspace folder of the model that a round's training left."""
    return f"{stage_folder(round_number, TRAININGS[role])}/model"


def _section(spec: HardeningRunSpec, status: HardeningRunStatus, key: StageKey, shard: Shard) -> dict[str, Any]:
    match key.stage:
        case "Attack":
            return {"attack": _attack(spec, key.round)}
        case "Score":
            return {"score": _score(spec, key.round, shard)}
        case "TrainAttacker":
            return {"train": _train(spec, key.round, "attacker")}
        case "TrainDefender":
            return {"train": _train(spec, key.round, "defender")}
        case "Evaluate":
            return {"evaluate": _evaluate(spec, key.round, shard)}
        case "Promote":
            return {"promote": _promote(spec, status, key.round)}


def _weights(spec: HardeningRunSpec, role: Role, after_round: int) -> Weights:
    """The model of ``role`` as round ``after_round`` left it; 0 is the base model."""
    if after_round > 0:
        return Weights(path=trained_model(after_round, role))
    if role == "attacker" and spec.attacker.model is not None:
        return Weights(source=spec.attacker.model)
    return Weights(source=spec.model)


def _reference(spec: HardeningRunSpec, role: Role, round_number: int) -> Weights:
    previous = max(round_number - 1, 0) if spec.training.reference == "PreviousRound" else 0
    return _weights(spec, role, previous)


def _attack(spec: HardeningRunSpec, round_number: int) -> AttackConfig:
    attacker = _weights(spec, "attacker", round_number - 1)
    data = spec.data
    return AttackConfig(attacker=attacker, preferences=data.preferences, attacks=data.attacks, settings=spec.attacker)


def _score(spec: HardeningRunSpec, round_number: int, shard: Shard) -> ScoreConfig:
    return ScoreConfig(
        attack=stage_folder(round_number, "Attack", shard),
        defender=_weights(spec, "defender", round_number - 1),
        reference=_reference(spec, "defender", round_number),
        attacker_reference=_reference(spec, "attacker", round_number),
        scoring=spec.scoring,
        settings=spec.attacker,
        benign_preferences=spec.data.benign_preferences,
        original_share=spec.training.original_share,
        benign_attacked_share=spec.training.benign_attacked_share,
        benign_share=spec.training.benign_share,
    )


def _train(spec: HardeningRunSpec, round_number: int, role: Role) -> TrainConfig:
    return TrainConfig(
        role=role,
        initial=_weights(spec, role, round_number - 1),
        pairs=_folders(spec, round_number, "Score"),
        training=spec.training.for_role(role),
    )


def _evaluate(spec: HardeningRunSpec, round_number: int, shard: Shard) -> EvaluateConfig:
    return EvaluateConfig(
        base=Weights(source=spec.model),
        candidate=_weights(spec, "defender", round_number) if round_number > 0 else None,
        attacker=_weights(spec, "attacker", round_number),
        reference=_reference(spec, "defender", round_number),
        scoring=spec.scoring,
        settings=spec.attacker,
        data=spec.data.evaluation,
        training_data=training_data(spec),
        attacks=spec.data.attacks,
        evaluation=spec.evaluation,
        base_evaluation=stage_folder(0, "Evaluate", shard) if round_number > 0 else None,
        banks=[stage_folder(earlier, "Evaluate", shard) for earlier in range(round_number)],
    )


def training_data(spec: HardeningRunSpec) -> list[DataSource]:
    """Return all that a run's models are trained on."""
    sources = (spec.data.preferences, spec.data.benign_preferences, spec.data.attacks)
    return [source for source in sources if source is not None]


def _promote(spec: HardeningRunSpec, status: HardeningRunStatus, round_number: int) -> PromoteConfig:
    chosen = next(entry for entry in status.rounds if entry.round == round_number)
    if chosen.candidate is None:
        raise ValueError(f"rounds[{round_number}].candidate: got none: expected the digest of a trained defender")
    approvals = [entry for entry in status.decisions if entry.decision == "Approved" and entry.round == round_number]
    return PromoteConfig(
        candidate=_weights(spec, "defender", round_number),
        candidate_digest=chosen.candidate,
        base=spec.model,
        targets=spec.promotion.targets,
        gates=chosen.gates,
        evaluations=chosen.evaluations,
        evaluate=_folders(spec, round_number, "Evaluate"),
        approver=approvals[-1].approver if approvals else None,
    )


def _folders(spec: HardeningRunSpec, round_number: int, stage: StageName) -> list[str]:
    count = spec.stages.shards_of(stage)
    return [stage_folder(round_number, stage, Shard(index=index, count=count)) for index in range(count)]
