"""TrainAttacker and TrainDefender through the runtime: inputs, figures, no pairs, being stopped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_api.stages import StageConfig, StageResult, stage_folder
from hardening_trainer.errors import DataFault, Interrupted
from hardening_trainer.models import load_causal_lm, load_tokenizer
from hardening_trainer.models.files import folder_digest
from hardening_trainer.runtime.progress import Progress
from hardening_trainer.runtime.signals import StopSignal
from hardening_trainer.runtime.stage import StageContext, Surroundings, run_stage
from hardening_trainer.stages import train
from hardening_trainer.storage.manifests import load_manifest
from hardening_trainer.storage.workspace import Workspace
from tests.support.pairs import TEXTS, write_pairs
from tests.support.stage_configs import stage_config

Texts = list[tuple[str, str, str]]
TRAINING = {"engine": "Torch", "gpusPerNode": 0, "batchSize": 2, "learningRate": 1e-3}


class World:
    """A workspace whose Score stage left pairs, and a training to run on them."""

    def __init__(self, tmp: Path, model_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tmp, self.model_path, self.model, self.tokenizer = tmp, model_path, model, tokenizer
        self.workspace = Workspace.open(f"file://{tmp}/workspace")

    def score(self, shards: list[Texts], role: str) -> list[str]:
        folders = []
        for index, texts in enumerate(shards):
            shard = {"index": index, "count": len(shards)}
            body = {
                "attack": "attack",
                "defender": self.weights,
                "reference": self.weights,
                "attackerReference": self.weights,
                "scoring": {},
                "settings": {},
                "originalShare": 0.5,
                "benignShare": 0.5,
            }
            config = stage_config("Score", "score", body, self.workspace.url, shard=shard)
            self.run(config, lambda context, texts=texts: self._leave(context, texts, role))
            folders.append(config.folder)
        return folders

    @property
    def weights(self) -> dict[str, Any]:
        return {"source": {"uri": f"file://{self.model_path}"}}

    def config(self, role: str, pairs: list[str], **settings: Any) -> StageConfig:
        body = {"role": role, "initial": self.weights, "pairs": pairs, "training": {**TRAINING, **settings}}
        return stage_config(f"Train{role.capitalize()}", "train", body, self.workspace.url, seed=5)

    def run(self, config: StageConfig, stage: Any = train.run, stop: StopSignal | None = None) -> StageResult:
        scratch = self.tmp / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        around = Surroundings(Progress(config), stop or StopSignal(), scratch, {}, clock=lambda: 0.0)
        return run_stage(config, lambda: stage, self.workspace, around)

    def _leave(self, context: StageContext, texts: Texts, role: str) -> StageResult:
        write_pairs(context.folder / f"{role}-pairs.parquet", self.model, self.tokenizer, texts)
        return StageResult(stage="Score", round=1, shard=context.config.shard, outcome="Succeeded")


@pytest.fixture
def world(tmp_path: Path, tiny_model: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> World:
    return World(tmp_path, tiny_model, model, tokenizer)


def folder(world: World, stage: Any) -> Path:
    return world.tmp / "workspace" / stage_folder(1, stage)


@pytest.mark.slow
def test_a_defender_is_trained_on_the_pairs_of_every_shard(world: World) -> None:
    pairs = world.score([TEXTS[:5], TEXTS[5:]], "defender")
    result = world.run(world.config("defender", pairs))
    assert result.training is not None
    assert (result.training.pairs, result.training.steps) == (8, 4)
    assert result.tokens == result.training.tokens > 0
    assert result.message is None
    load_causal_lm(folder(world, "TrainDefender") / "model")
    manifest = load_manifest(world.workspace, stage_folder(1, "TrainDefender"))
    assert manifest is not None
    assert {f"stage:{name}" for name in pairs} < manifest.inputs.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"method": "Full"}, {"method": "LoRA"}, {"method": "Full", "engine": "DeepSpeed", "deepspeed": {"zeroStage": 3}}],
    ids=["Full", "LoRA", "ZeRO-3"],
)
def test_interpolation_saves_weights_between_those_the_training_started_from_and_those_it_reached(
    world: World, settings: dict[str, Any]
) -> None:
    pairs = world.score([TEXTS], "defender")
    saved = folder(world, "TrainDefender") / "model"
    world.run(world.config("defender", pairs, **settings))
    reached = load_file(saved / "model.safetensors")
    shutil.rmtree(folder(world, "TrainDefender"))
    result = world.run(world.config("defender", pairs, **settings, interpolation=0.25))
    assert result.training is not None
    assert result.training.steps == 4
    start = load_file(world.model_path / "model.safetensors")
    between = load_file(saved / "model.safetensors")
    assert between.keys() == reached.keys() == start.keys()
    assert any(not torch.equal(start[name], reached[name]) for name in start)
    for name, weights in between.items():
        expected = 0.75 * start[name].float() + 0.25 * reached[name].float()
        torch.testing.assert_close(weights.float(), expected, atol=1e-6, rtol=1e-5)
    load_tokenizer(saved)


@pytest.mark.slow
def test_a_stopped_stage_goes_on_where_it_was_to_the_same_weights(world: World) -> None:
    pairs = world.score([TEXTS], "defender")
    config = world.config("defender", pairs)
    stop = StopSignal()

    def interrupted(context: StageContext) -> StageResult:
        plan = context.progress.total

        def total(units: int, done: int = 0) -> None:
            plan(units, done)
            stop.request("SIGTERM")

        context.progress.total = total  # type: ignore[method-assign]
        return train.run(context)

    with pytest.raises(Interrupted, match="after step 1"):
        world.run(config, interrupted, stop)
    assert load_manifest(world.workspace, config.folder) is None
    world.run(config)
    resumed = folder_digest(folder(world, "TrainDefender") / "model")
    shutil.rmtree(folder(world, "TrainDefender"))
    world.run(config)
    assert folder_digest(folder(world, "TrainDefender") / "model") == resumed


def test_an_attacker_without_pairs_passes_its_weights_on_and_says_so(world: World) -> None:
    pairs = world.score([[]], "attacker")
    result = world.run(world.config("attacker", pairs))
    assert result.training is not None
    assert (result.training.pairs, result.training.steps, result.training.loss) == (0, 0, None)
    assert "its weights are passed on unchanged" in str(result.message)
    assert folder_digest(folder(world, "TrainAttacker") / "model") == folder_digest(world.model_path)


def test_a_defender_without_pairs_is_refused(world: World) -> None:
    pairs = world.score([[]], "defender")
    with pytest.raises(DataFault, match="No pairs to train the defender on"):
        world.run(world.config("defender", pairs))


def test_a_defender_whose_pairs_are_all_too_long_is_refused_with_their_number(world: World) -> None:
    pairs = world.score([TEXTS], "defender")
    with pytest.raises(DataFault, match=r"8 pairs longer than training.maxLength were left out\. No pairs"):
        world.run(world.config("defender", pairs, maxLength=16))
