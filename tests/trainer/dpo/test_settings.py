"""DeepSpeed's JSON, batch sizes, the process launcher's arguments, checkpoints' book-keeping: no training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hardening_api.training import DeepSpeed, Training
from hardening_trainer.dpo import arguments
from hardening_trainer.dpo.arguments import deepspeed_config, merge, micro_batch_size
from hardening_trainer.dpo.checkpoints import last_complete, mark_complete, remove_torn
from hardening_trainer.dpo.launch import needs_processes, rendezvous, worker_environ
from hardening_trainer.dpo.watch import TrainingDiverged, check_step
from hardening_trainer.errors import UsageFault


def training(stage: int = 2, **config: Any) -> Training:
    return Training(batch_size=8, gradient_accumulation_steps=2, deepspeed=DeepSpeed(zero_stage=stage, config=config))


def test_the_json_says_what_the_spec_says() -> None:
    config = deepspeed_config(training(), bf16=False)
    assert config["train_micro_batch_size_per_gpu"] == 4
    assert config["gradient_accumulation_steps"] == 2
    assert config["gradient_clipping"] == 1.0
    assert config["bf16"] == {"enabled": False}
    assert config["zero_optimization"] == {"stage": 2}


@pytest.mark.parametrize(
    ("settings", "bf16"),
    [
        ({"engine": "Torch"}, True),
        ({"engine": "Torch", "processes_per_node": 2}, False),
        ({"engine": "DeepSpeed"}, False),
    ],
)
def test_a_cpu_with_bfloat16_instructions_uses_them_in_plain_pytorch(
    settings: dict[str, Any], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "native_dtype", lambda device: torch.bfloat16)
    assert arguments.find_device(Training(gpus_per_node=0, **settings)).bf16 is bf16


def test_a_cpu_without_them_computes_in_float32() -> None:
    assert arguments.find_device(Training(gpus_per_node=0, engine="Torch")).bf16 is False


def test_zero_3_gathers_the_weights_on_save_and_names_no_total_batch() -> None:
    config = deepspeed_config(training(3), bf16=True)
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert "train_batch_size" not in config


def test_a_users_json_is_merged_deep_and_wins() -> None:
    given = training(3, zero_optimization={"reduce_bucket_size": 7}, wall_clock_breakdown=True)
    config = deepspeed_config(given, bf16=False)
    assert config["zero_optimization"]["reduce_bucket_size"] == 7
    assert config["zero_optimization"]["stage"] == 3
    assert config["wall_clock_breakdown"] is True
    assert merge({"a": {"b": 1}, "c": 2}, {"a": {"d": 3}, "c": [4]}) == {"a": {"b": 1, "d": 3}, "c": [4]}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"gradient_clipping": 0.5}, "config.gradient_clipping: got 0.5: expected 1.0"),
        ({"zero_optimization": {"stage": 1}}, "zero_optimization.stage: got 1: expected 2"),
        ({"train_batch_size": 8}, "config.train_batch_size"),
        ({"optimizer": {"type": "AdamW"}}, "config.optimizer"),
        ({"zero_optimization": {"stage3_gather_16bit_weights_on_model_save": False}}, "got false"),
    ],
)
def test_a_users_json_that_contradicts_the_spec_is_refused(config: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageFault, match=named):
        deepspeed_config(training(**config), bf16=False)


def test_a_batch_that_does_not_split_evenly_is_refused() -> None:
    assert micro_batch_size(Training(batch_size=8, gradient_accumulation_steps=4)) == 2
    with pytest.raises(UsageFault, match=r"gradientAccumulationSteps: got 3: expected a divisor of batchSize \(8\)"):
        micro_batch_size(Training(batch_size=8).model_copy(update={"gradient_accumulation_steps": 3}))


def test_torchrun_is_used_for_deepspeed_and_for_several_processes_only() -> None:
    assert needs_processes(Training(engine="DeepSpeed"))
    assert not needs_processes(Training(engine="Torch"))
    assert needs_processes(Training(engine="Torch", processes_per_node=2))
    assert Training(gpus_per_node=8).processes == 8
    assert Training(gpus_per_node=0).processes == 1


def test_nodes_meet_where_the_environment_says() -> None:
    given = Training(nodes=2, gpus_per_node=4)
    assert rendezvous(given, {"MASTER_ADDR": "run-0.run", "HARDENING_NODE_RANK": "1"}) == [
        "--nnodes=2",
        "--node-rank=1",
        "--master-addr=run-0.run",
        "--master-port=29500",
        "--nproc-per-node=4",
    ]
    with pytest.raises(UsageFault, match="MASTER_ADDR"):
        rendezvous(given, {"HARDENING_NODE_RANK": "0"})
    assert rendezvous(Training(), {}) == ["--standalone", "--nproc-per-node=1"]


def test_a_training_on_cpu_is_shown_no_gpu() -> None:
    assert worker_environ(Training(gpus_per_node=0), {})["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in worker_environ(Training(gpus_per_node=1), {})
    assert worker_environ(Training(), {"OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3"


def test_the_processes_of_a_pod_share_the_cores_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {2, 3, 5, 7}, raising=False)
    assert worker_environ(Training(gpus_per_node=2), {})["OMP_NUM_THREADS"] == "2"


def test_only_a_marked_checkpoint_counts_and_the_last_one_stays(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert last_complete(tmp_path) is None
    mark_complete(tmp_path / "checkpoint-5")
    mark_complete(tmp_path / "checkpoint-10")
    assert last_complete(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-5").exists()
    remove_torn(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-10"]


def test_a_loss_that_is_not_a_number_names_the_step_and_what_to_try() -> None:
    with pytest.raises(TrainingDiverged, match=r"step 2: loss is nan: try a lower spec.training.learningRate"):
        check_step(2, [{"loss": 0.7}, {"loss": float("nan")}])
    with pytest.raises(TrainingDiverged, match="grad_norm is inf"):
        check_step(1, [{"loss": 0.7, "grad_norm": float("inf")}])


def test_a_loss_many_times_the_first_has_exploded_but_one_bad_batch_has_not() -> None:
    start = [{"loss": 0.7}] * 3
    check_step(4, [*start, {"loss": 30.0}])
    check_step(8, [*start, {"loss": 30.0}, *([{"loss": 0.7}] * 4)])
    with pytest.raises(TrainingDiverged, match=r"step 8: the mean loss of 5 steps is 30, 43 times"):
        check_step(8, [*start, *([{"loss": 30.0}] * 5)])
