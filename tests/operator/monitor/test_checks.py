"""What a check and a rerun are told."""

from __future__ import annotations

from typing import Any

import pytest

from hardening_api.monitor import ActiveCheck, HardeningMonitor, RerunRecord
from hardening_api.run import HardeningRun
from hardening_api.stages import EvaluateConfig, StageConfig
from hardening_api.status import HardeningRunStatus
from hardening_api.validation import validate_run
from hardening_operator.planner.check_config import check_config
from hardening_operator.planner.monitor_types import RerunStart
from hardening_operator.planner.rerun import build_rerun
from hardening_operator.planner.stage_configs import run_identity, stage_configs
from hardening_operator.planner.types import StageKey
from tests.operator.monitor.world import monitor_of, promoted_run

WORKSPACE = "file:///workspace"
ENDPOINT = {"endpoint": {"baseUrl": "http://llm:8000/v1", "model": "mistral"}}


def active(name: str = "nightly-1") -> ActiveCheck:
    return ActiveCheck(name=name, scheduled_time="2026-03-02T03:00:00Z", start_time="2026-03-02T03:00:00Z")


def config(monitor: HardeningMonitor, run: HardeningRun | None, name: str = "nightly-1") -> StageConfig:
    return check_config(monitor, active(name), run, WORKSPACE)


def section(monitor: HardeningMonitor, run: HardeningRun | None) -> EvaluateConfig:
    found = config(monitor, run).evaluate
    assert found is not None
    return found


def test_a_check_of_a_run_is_its_promoted_rounds_evaluation_with_the_target_as_candidate() -> None:
    run = promoted_run()
    told = config(monitor_of(), run)
    body = told.evaluate
    assert body is not None
    assert told.folder == "monitors/nightly/nightly-1/evaluate/shard-0-of-1"
    assert (told.stage, told.round, told.run) == ("Evaluate", 2, run_identity(run))
    assert body.base is None
    assert body.candidate is not None
    assert body.candidate.path == "promoted/abc-def"
    assert body.attacker.path == "rounds/2/train-attacker/shard-0-of-1/model"
    assert body.recorded == [f"rounds/2/evaluate/shard-{index}-of-3" for index in range(3)]
    assert body.banks == ["rounds/0/evaluate/shard-0-of-3", "rounds/1/evaluate/shard-0-of-3"]
    assert (body.data, body.evaluation) == (run.spec.data.evaluation, run.spec.evaluation)
    assert body.settings == run.spec.attacker
    assert body.training_data == [run.spec.data.preferences]


def test_every_check_draws_other_attacks_and_the_same_check_the_same() -> None:
    run = promoted_run()
    seeds = {config(monitor_of(), run, name).seed for name in ("nightly-1", "nightly-2")}
    assert len(seeds) == 2
    assert config(monitor_of(), run) == config(monitor_of(), run)
    assert config(monitor_of(seed=1), run).seed not in seeds


def test_a_served_target_takes_the_candidates_place() -> None:
    body = section(monitor_of(target=ENDPOINT, evaluation={"run": "mistral"}), promoted_run())
    assert body.endpoint is not None
    assert (body.endpoint.base_url, body.candidate) == ("http://llm:8000/v1", None)
    assert body.recorded


def test_what_the_monitor_says_itself_wins_over_the_run() -> None:
    own = {
        "data": {"harmful": {"uri": "file:///other.jsonl"}},
        "attacker": {"model": {"uri": "hf://org/attacker"}, "template": "rewrite-v1"},
        "settings": {"maxNewTokens": 9},
    }
    body = section(monitor_of(evaluation=own), promoted_run())
    assert body.data.harmful.uri == "file:///other.jsonl"
    assert body.attacker.source is not None
    assert body.attacker.source.uri == "hf://org/attacker"
    assert (body.settings.template, body.evaluation.max_new_tokens) == ("rewrite-v1", 9)


def test_a_model_without_a_run_attacks_itself_unless_told_otherwise() -> None:
    spec: dict[str, Any] = {
        "target": {"model": {"uri": "hf://org/model"}},
        "evaluation": {"data": {"harmful": {"uri": "file:///p.jsonl"}}},
        "baseline": {"figures": [{"set": "attacked", "harmRate": 0.1, "samples": 100}]},
    }
    told = config(monitor_of(**spec), None)
    body = told.evaluate
    assert body is not None
    assert body.attacker.source == body.candidate.source if body.candidate else False
    assert (told.run.name, told.round, body.recorded, body.banks) == ("nightly", 0, [], [])


@pytest.mark.parametrize("reference", ["Base", "PreviousRound"])
def test_r_has_the_reference_of_the_promoted_round(reference: str) -> None:
    run = promoted_run(training={"reference": reference})
    body = section(monitor_of(), run)
    status = run.status or HardeningRunStatus()
    of_run = stage_configs(run.spec, run_identity(run), status, StageKey(2, "Evaluate"), WORKSPACE)
    assert of_run[0].evaluate is not None
    assert body.reference == of_run[0].evaluate.reference


def rerun(attacks: int, **spec: Any) -> dict[str, Any]:
    record = RerunRecord(name="nightly-rerun-1", time="2026-03-02T04:00:00Z", check="nightly-1", source="mistral")
    return build_rerun(RerunStart(record, promoted_run(**spec), attacks), "nightly", WORKSPACE, None)


def test_a_rerun_is_a_valid_run_from_the_promoted_checkpoint_with_its_attacker_and_the_attacks() -> None:
    run = validate_run(rerun(attacks=5))
    assert isinstance(run, HardeningRun)
    assert run.spec.model.uri == "file:///workspace/promoted/abc-def"
    assert run.spec.attacker.model is not None
    assert run.spec.attacker.model.uri == "file:///workspace/rounds/2/train-attacker/shard-0-of-1/model"
    assert run.spec.attacker.template == "lead-in-v1"
    assert run.spec.data.attacks is not None
    attacks = "file:///workspace/monitors/nightly/nightly-1/evaluate/shard-0-of-1/attacks.jsonl"
    assert run.spec.data.attacks.uri == attacks
    labels = (run.metadata.model_extra or {})["labels"]
    assert labels == {"kueue.x-k8s.io/queue-name": "gpu", "hardening.dev/monitor": "nightly"}
    assert run.metadata.namespace == "safety"


def test_a_rerun_without_attacks_to_train_on_names_none() -> None:
    assert "attacks" not in rerun(attacks=0)["spec"]["data"]


def test_the_attacks_of_a_run_are_attacked_and_checked_for_overlap() -> None:
    run = validate_run(rerun(attacks=5))
    assert isinstance(run, HardeningRun)
    keys: tuple[StageKey, StageKey] = (StageKey(1, "Attack"), StageKey(1, "Evaluate"))
    status = HardeningRunStatus()
    attack, evaluate = (stage_configs(run.spec, run_identity(run), status, key, WORKSPACE) for key in keys)
    assert attack[0].attack is not None
    assert evaluate[0].evaluate is not None
    assert attack[0].attack.attacks == evaluate[0].evaluate.attacks == run.spec.data.attacks
    assert run.spec.data.attacks in evaluate[0].evaluate.training_data


def test_a_bucket_is_read_with_the_workspaces_own_secret() -> None:
    workspace = {"s3": {"uri": "s3://bucket/prefix", "secretRef": {"name": "s3"}}}
    document = rerun(attacks=1, workspace=workspace)
    assert document["spec"]["model"]["secretRef"] == {"name": "s3"}
    assert document["spec"]["data"]["attacks"]["secretRef"] == {"name": "s3"}
