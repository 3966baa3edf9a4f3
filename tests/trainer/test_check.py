"""Evaluate as a monitor's check: a promoted or served target beside what the promoted candidate once answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardening_api.stages import SetSums, StageConfig, StageResult
from hardening_trainer.errors import CorruptInput, Unavailable, UsageFault
from hardening_trainer.evaluation.questions import may_be_trained_on
from hardening_trainer.judges import answers as judge_answers
from hardening_trainer.judges import refusal_pattern
from hardening_trainer.runtime.progress import Progress
from hardening_trainer.runtime.signals import StopSignal
from hardening_trainer.runtime.stage import Surroundings, run_stage
from hardening_trainer.stages import evaluate
from hardening_trainer.storage.workspace import Workspace
from tests.support.chat_server import chat_server
from tests.support.tiny_model import build_tiny_model
from tests.trainer.test_evaluate import RUN, World

COMPLIES, DECLINES = "Sure, first you take the old bread.", "I'm sorry, but I can't help with that."


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A run of one round whose candidate was evaluated; what a random model babbles passes for English answers."""
    folder = tmp_path_factory.mktemp("check")
    base, candidate = (build_tiny_model(folder / f"model-{seed}", seed=seed) for seed in (0, 1))
    world = World(folder, base, candidate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge_answers, "_no_answer", lambda text: None if text else "NoAnswer")
        patch.setattr(refusal_pattern, "is_english", lambda _: True)
        world.run(0)
        world.run(1)
        yield world


def check_config(world: World, name: str, target: dict[str, Any], **more: Any) -> StageConfig:
    body = world.config(1).evaluate
    assert body is not None
    document = body.to_document()
    for field in ("base", "candidate", "baseEvaluation"):
        del document[field]
    document |= {"recorded": [world.folder(1)], "banks": [world.folder(0)]} | target | more
    identity = {"monitor": "nightly", "name": name}
    top = {"run": RUN, "stage": "Evaluate", "round": 1, "check": identity, "seed": 7, "workspace": world.workspace.url}
    return StageConfig.model_validate(top | {"evaluate": document})


def check(world: World, name: str, target: dict[str, Any], **more: Any) -> StageResult:
    config = check_config(world, name, target, **more)
    around = Surroundings(Progress(config), StopSignal(), world.tmp / f"scratch-{name}", {}, clock=lambda: 0.0)
    return run_stage(config, lambda: evaluate.run, world.workspace, around)


def sums_of(result: StageResult, name: str) -> SetSums:
    return next(entry for entry in result.evaluations if entry.set == name)


def candidate(world: World) -> dict[str, Any]:
    return {"candidate": {"source": {"uri": world.candidate.as_uri()}}}


def served(base_url: str) -> dict[str, Any]:
    return {"endpoint": {"baseUrl": base_url, "model": "m", "maxRetries": 0}}


def test_the_same_checkpoint_answers_as_it_was_recorded(world: World) -> None:
    result = check(world, "same", candidate(world))
    pairs = sums_of(result, "original").harm_pairs
    assert pairs is not None
    assert (pairs.only_candidate, pairs.only_base) == (0, 0)
    assert pairs.both + pairs.neither == 6
    assert sums_of(result, "original").harmful == sums_of(result, "original").base_harmful
    assert sums_of(result, "benign").refusal_pairs is not None
    bank = sums_of(result, "bank")
    assert bank.harm_pairs is not None
    assert bank.harmful is not None
    assert bank.harmful.samples == len(world.bank(0))
    assert bank.harm_pairs.both + bank.harm_pairs.neither == bank.harmful.samples


def test_a_check_has_a_folder_of_its_own_and_leaves_the_run_as_it_was(world: World) -> None:
    before = sorted(str(path) for path in (world.tmp / "workspace" / "rounds").rglob("*"))
    check(world, "apart", candidate(world))
    assert (world.tmp / "workspace/monitors/nightly/apart/evaluate/shard-0-of-1/manifest.json").is_file()
    assert sorted(str(path) for path in (world.tmp / "workspace" / "rounds").rglob("*")) == before


def test_a_served_model_is_judged_on_every_set_and_has_no_r(world: World) -> None:
    with chat_server(lambda _: (200, COMPLIES)) as server:
        result = check(world, "served", served(server.base_url))
    for name in ("original", "attacked", "bank"):
        harmful = sums_of(result, name).harmful
        assert harmful is not None
        assert harmful.successes == harmful.samples > 0
        assert sums_of(result, name).direct_harmfulness is None
    assert server.asked[0] == "Hello"
    assert len(set(server.asked)) == len(server.asked)


def test_attacks_that_a_served_model_fell_for_are_left_as_rows_of_half_the_prompts(world: World) -> None:
    with chat_server(lambda _: (200, COMPLIES)) as server:
        result = check(world, "fallen", served(server.base_url))
    file = world.tmp / "workspace/monitors/nightly/fallen/evaluate/shard-0-of-1/attacks.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == result.attacks > 0
    assert {row["dispreferred"] for row in rows} == {COMPLIES}
    held_out = [json.loads(line) for line in Path(world.harmful.removeprefix("file://")).read_text().splitlines()]
    seedable = [row["prompt"] for row in held_out if may_be_trained_on(row["prompt"])]
    assert 0 < len(seedable) < len(held_out)
    again = check(world, "again", candidate(world), attacks={"uri": file.as_uri()})
    original = sums_of(again, "original").harmful
    assert original is not None
    assert original.samples == len(held_out) - len(seedable)


def test_a_model_that_declines_leaves_no_attacks(world: World) -> None:
    with chat_server(lambda _: (200, DECLINES)) as server:
        result = check(world, "declines", served(server.base_url))
    assert result.attacks == 0
    harmful = sums_of(result, "original").harmful
    assert harmful is not None
    assert harmful.successes == 0


def test_an_answer_the_endpoint_refuses_is_errored_and_not_safe(world: World) -> None:
    with chat_server(lambda text: (200, "") if text == "Hello" else (400, "")) as server:
        result = check(world, "refused", served(server.base_url))
    original = sums_of(result, "original")
    assert original.harmful is not None
    assert (original.harmful.samples, original.causes) == (0, {"NoAnswer": 6})


def test_an_endpoint_nobody_serves_is_an_unreachable_target_and_no_attack_is_drawn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "attacked_questions", lambda *_: pytest.fail("attacks were drawn"))
    with chat_server(lambda _: (200, "")) as server:
        url = server.base_url
    with pytest.raises(Unavailable, match="no answer in 1 tries") as caught:
        check(world, "down", served(url))
    assert caught.value.reason == "TargetUnreachable"


def test_an_endpoint_that_refuses_the_key_is_set_up_wrongly(world: World) -> None:
    with chat_server(lambda _: (401, "")) as server, pytest.raises(UsageFault, match="check the secret") as caught:
        check(world, "forbidden", served(server.base_url))
    assert caught.value.reason == "TargetMisconfigured"


def test_a_promoted_checkpoint_is_read_only_as_it_was_attested(world: World) -> None:
    folder = world.tmp / "workspace" / "promoted" / "abc"
    build_tiny_model(folder, seed=1)
    subject = [
        {"name": path.name, "digest": {"sha256": Workspace.open(f"file://{folder}").sha256(path.name)}}
        for path in sorted(folder.iterdir())
    ]
    (folder / "statement.json").write_text(json.dumps({"subject": subject}))
    target = {"candidate": {"path": "promoted/abc"}}
    pairs = sums_of(check(world, "attested", target), "original").harm_pairs
    assert pairs is not None
    assert pairs.only_candidate == 0
    (folder / "config.json").write_text("{}")
    with pytest.raises(CorruptInput, match=r"promoted/abc: config\.json missing or not as attested"):
        check(world, "changed", target)
    (folder / "statement.json").unlink()
    with pytest.raises(CorruptInput, match="no statement that attests"):
        check(world, "unattested", target)
