"""What each stage is told."""

from __future__ import annotations

from typing import Any

import pytest

from hardening_api.run import HardeningRun, HardeningRunSpec
from hardening_api.stages import RunIdentity, StageConfig
from hardening_api.status import HardeningRunStatus, StageName
from hardening_operator.planner.stage_configs import run_identity, spec_digest, stage_configs, stage_seed
from hardening_operator.planner.types import STAGE_ORDER
from tests.operator.world import Run, digest_for, key_of, promotion, spec_of

ATTACKER = {"uri": "hf://org/attacker"}
DEFENDER_1 = "rounds/1/train-defender/shard-0-of-1/model"
ATTACKER_1 = "rounds/1/train-attacker/shard-0-of-1/model"


def configs(
    spec: HardeningRunSpec, round_number: int, stage: StageName, status: HardeningRunStatus | None = None
) -> list[StageConfig]:
    identity = RunIdentity(name="demo", spec_digest=spec_digest(spec))
    key = key_of(round_number, stage)
    return stage_configs(spec, identity, status or HardeningRunStatus(), key, "file:///workspace")


def section(spec: HardeningRunSpec, round_number: int, stage: StageName) -> Any:
    [config] = configs(spec, round_number, stage)
    return next(part for part in (config.attack, config.score, config.train, config.evaluate) if part is not None)


def test_round_one_starts_from_the_base_models() -> None:
    spec = spec_of(attacker={"model": ATTACKER})
    assert section(spec, 1, "Attack").attacker.source == spec.attacker.model
    assert section(spec, 1, "Score").defender.source == spec.model
    assert section(spec, 1, "TrainAttacker").initial.source == spec.attacker.model
    assert section(spec, 1, "TrainDefender").initial.source == spec.model


def test_the_attacker_is_the_base_model_unless_told_otherwise() -> None:
    spec = spec_of()
    assert section(spec, 1, "Attack").attacker.source == spec.model


def test_later_rounds_start_from_what_the_round_before_left() -> None:
    spec = spec_of(attacker={"model": ATTACKER})
    assert section(spec, 2, "Attack").attacker.path == ATTACKER_1
    assert section(spec, 2, "Score").defender.path == DEFENDER_1
    assert section(spec, 2, "TrainAttacker").initial.path == ATTACKER_1
    assert section(spec, 2, "TrainDefender").initial.path == DEFENDER_1


def test_the_reference_is_the_base_model_or_the_round_before() -> None:
    base = spec_of(attacker={"model": ATTACKER})
    score = section(base, 2, "Score")
    assert (score.reference.source, score.attacker_reference.source) == (base.model, base.attacker.model)
    previous = spec_of(training={"reference": "PreviousRound"})
    score = section(previous, 2, "Score")
    assert (score.reference.path, score.attacker_reference.path) == (DEFENDER_1, ATTACKER_1)
    assert section(previous, 1, "Score").reference.source == previous.model
    assert section(previous, 0, "Evaluate").reference.source == previous.model


def test_the_base_is_evaluated_alone_under_the_base_attacker() -> None:
    spec = spec_of(attacker={"model": ATTACKER})
    evaluate = section(spec, 0, "Evaluate")
    assert (evaluate.candidate, evaluate.base_evaluation, evaluate.banks) == (None, None, [])
    assert evaluate.attacker.source == spec.attacker.model


def test_a_candidate_is_evaluated_under_the_attacker_just_trained_and_every_bank_before() -> None:
    spec = spec_of(stages={"evaluate": {"shards": 2}})
    parts = [config.evaluate for config in configs(spec, 2, "Evaluate")]
    for index, evaluate in enumerate(parts):
        assert evaluate is not None
        assert evaluate.candidate is not None
        assert evaluate.candidate.path == "rounds/2/train-defender/shard-0-of-1/model"
        assert evaluate.attacker.path == "rounds/2/train-attacker/shard-0-of-1/model"
        assert evaluate.base_evaluation == f"rounds/0/evaluate/shard-{index}-of-2"
        assert evaluate.banks == [f"rounds/{earlier}/evaluate/shard-{index}-of-2" for earlier in (0, 1)]


def test_all_training_prompts_are_kept_out_of_the_evaluation() -> None:
    assert len(section(spec_of(), 1, "Evaluate").training_data) == 1
    data = spec_of().data.to_document() | {"benignPreferences": {"uri": "file:///helpful.jsonl"}}
    sources = section(spec_of(data=data), 1, "Evaluate").training_data
    assert [source.uri for source in sources] == ["file:///pairs.jsonl", "file:///helpful.jsonl"]


def test_each_score_shard_reads_its_own_attack_shard_and_trainings_read_all() -> None:
    spec = spec_of(stages={"attack": {"shards": 3}})
    folders = [config.score.attack for config in configs(spec, 1, "Score") if config.score is not None]
    assert folders == [f"rounds/1/attack/shard-{index}-of-3" for index in range(3)]
    assert section(spec, 1, "TrainDefender").pairs == [f"rounds/1/score/shard-{index}-of-3" for index in range(3)]


def test_shards_of_all_stages_are_overridden_by_the_stage() -> None:
    spec = spec_of(stages={"all": {"shards": 2}, "evaluate": {"shards": 5}})
    assert [spec.stages.shards_of(stage) for stage in STAGE_ORDER] == [2, 2, 1, 1, 5, 1]


def test_a_training_has_the_settings_of_its_role() -> None:
    spec = spec_of(training={"learningRate": 1e-4, "attacker": {"learningRate": 1e-5}})
    assert section(spec, 1, "TrainAttacker").training.learning_rate == 1e-5
    assert section(spec, 1, "TrainDefender").training.learning_rate == 1e-4


def test_promotion_is_told_the_candidate_its_verdicts_and_who_approved() -> None:
    run = Run(spec_of(promotion=promotion(approval="Manual")))
    run.run_out()
    run.approve()
    [config] = configs(run.spec, 1, "Promote", run.status)
    assert config.promote is not None
    assert config.promote.candidate.path == DEFENDER_1
    assert config.promote.candidate_digest == digest_for(1, "TrainDefender", 0)
    assert [gate.verdict for gate in config.promote.gates] == ["Pass"]
    assert config.promote.evaluate == ["rounds/1/evaluate/shard-0-of-1"]
    assert config.promote.approver == "ada"


def test_a_promotion_without_a_candidate_is_refused() -> None:
    run = Run(spec_of())
    run.go_on_until(key_of(1, "Score"))
    with pytest.raises(ValueError, match=r"rounds\[1\].candidate: got none"):
        configs(run.spec, 1, "Promote", run.status)


def test_seeds_differ_by_stage_and_round_and_follow_from_the_spec() -> None:
    seeds = {stage_seed(7, key_of(number, stage)) for number in range(10) for stage in STAGE_ORDER}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert stage_seed(7, key_of(1, "Attack")) == stage_seed(7, key_of(1, "Attack"))
    assert stage_seed(8, key_of(1, "Attack")) != stage_seed(7, key_of(1, "Attack"))


def test_all_shards_have_one_seed_as_sampling_is_seeded_by_row() -> None:
    assert len({config.seed for config in configs(spec_of(stages={"attack": {"shards": 4}}), 1, "Attack")}) == 1


def test_what_may_change_during_a_run_does_not_change_what_its_stages_leave() -> None:
    before = spec_of()
    after = spec_of(
        suspend=True, activeDeadlineSeconds=60, backoffLimit=9, stages={"all": {"nodeSelector": {"a": "b"}}}
    )
    assert configs(before, 1, "Attack")[0].digest() == configs(after, 1, "Attack")[0].digest()
    assert spec_digest(spec_of(rounds=5)) != spec_digest(before)


def test_a_run_is_identified_by_its_metadata() -> None:
    document = {
        "apiVersion": "hardening.dev/v1alpha1",
        "kind": "HardeningRun",
        "metadata": {"name": "demo", "namespace": "safety", "uid": "u-1"},
        "spec": spec_of().to_document(),
    }
    identity = run_identity(HardeningRun.model_validate(document))
    assert (identity.name, identity.namespace, identity.uid) == ("demo", "safety", "u-1")
    document["metadata"] = {"name": "demo"}
    local = run_identity(HardeningRun.model_validate(document))
    assert (local.namespace, local.uid) == ("default", "local")
