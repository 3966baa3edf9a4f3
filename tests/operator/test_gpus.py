"""GPUs of a stage: counted once, for the pods and for `hardening_gpu_seconds_total`."""

from typing import Any

import pytest

from hardening_api.pods import Resources, Stages
from hardening_api.stages import STAGES
from hardening_api.status import StageName
from hardening_api.training import Training
from hardening_operator.metrics.facts import gpus_of_stages
from hardening_operator.planner.gpus import gpu_count, is_gpu, pod_gpus, stage_gpus
from tests.operator.resources.made import container_of, run_of


def of_all(resources: dict[str, Any]) -> dict[str, Any]:
    return {"stages": {"all": {"resources": resources}}}


def held(spec: dict[str, Any], stage: StageName) -> float:
    stages, training = (
        Stages.model_validate(spec.get("stages", {})),
        Training.model_validate(spec.get("training", {})),
    )
    return stage_gpus(stages, training, stage)


@pytest.mark.parametrize(
    ("given", "gpus"),
    [
        ({}, 0),
        ({"nvidia.com/gpu": 8}, 8),
        ({"amd.com/gpu": "8"}, 8),
        ({"gpu.intel.com/i915": 2}, 2),
        ({"nvidia.com/gpu.shared": 2}, 2),
        ({"nvidia.com/mig-1g.5gb": 2}, 2 / 7),
        ({"nvidia.com/mig-1g.10gb.me": 1}, 1 / 7),
        ({"nvidia.com/mig-7g.80gb": 1}, 1),
        ({"nvidia.com/mig-3g.40gb": 2, "nvidia.com/mig-1g.10gb": 1}, 1),
        ({"nvidia.com/mig-1c.2g.20gb": 1}, 1 / 7),
        ({"nvidia.com/mig-2g.12gb": 1}, 2 / 4),
        ({"amd.com/cpx_nps4": 4}, 0.5),
        ({"amd.com/spx_nps1": 1}, 1),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 8000, "nvidia.com/gpucores": 30}, 1),
        ({"aliyun.com/gpu-mem": 16}, 1),
    ],
)
def test_amounts_by_resource_make_so_many_whole_gpus(given: dict[str, int | str], gpus: float) -> None:
    assert gpu_count(given) == pytest.approx(gpus, abs=1e-12)
    assert all(map(is_gpu, given))


@pytest.mark.parametrize("name", ["cpu", "memory", "rdma/hca", "ephemeral-storage", "hugepages-2Mi"])
def test_other_resources_are_no_gpus(name: str) -> None:
    assert not is_gpu(name)


@pytest.mark.parametrize(
    ("spec", "stage", "gpus"),
    [
        (of_all({"limits": {"amd.com/gpu": 8}}) | {"training": {"nodes": 2}}, "TrainAttacker", 16),
        ({"stages": {"all": {"shards": 3, "resources": {"limits": {"nvidia.com/mig-1g.5gb": 2}}}}}, "Score", 6 / 7),
        ({"stages": {"attack": {"resources": {"requests": {"nvidia.com/gpu": 2}}}}}, "Attack", 2),
        (of_all({"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 2}}), "Attack", 2),
        (
            {
                "stages": {
                    "all": {"resources": {"limits": {"nvidia.com/mig-2g.20gb": 1}}},
                    "trainAttacker": {
                        "resources": {"limits": {"nvidia.com/mig-7g.80gb": 1, "nvidia.com/mig-2g.20gb": 0}}
                    },
                }
            },
            "TrainAttacker",
            1,
        ),
        (of_all({"limits": {"amd.com/gpu": 0}}), "Attack", 0),
        ({"training": {"gpusPerNode": 4, "nodes": 3}}, "TrainDefender", 12),
        ({"training": {"gpusPerNode": 4}, "stages": {"attack": {"shards": 5}}}, "Attack", 5),
        ({"training": {"gpusPerNode": 8, "nodes": 4}, "stages": {"all": {"shards": 4}}}, "Promote", 0),
    ],
)  # fmt: skip
def test_a_stage_holds_those_of_all_its_pods(spec: dict[str, Any], stage: StageName, gpus: float) -> None:
    assert held(spec, stage) == pytest.approx(gpus)
    assert gpus_of_stages(spec)[stage] == pytest.approx(gpus)


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"limits": {"amd.com/gpu": 8}},
        {"limits": {"nvidia.com/mig-1g.5gb": 2}, "requests": {"cpu": 2}},
        {"requests": {"nvidia.com/gpu": 2}},
        {"limits": {"nvidia.com/gpu": "0", "amd.com/cpx_nps4": 4}},
    ],
)
def test_what_a_pod_is_given_is_what_is_counted(resources: dict[str, Any]) -> None:
    fields = {"stages": {"all": {"resources": resources, "shards": 2}}, "training": {"nodes": 2, "gpusPerNode": 4}}
    run = run_of(**fields)
    for stage in STAGES:
        limits = container_of(run, 0 if stage == "Evaluate" else 1, stage).get("resources", {}).get("limits", {})
        pods = 1 if stage == "Promote" else 2
        assert gpu_count({name: amount for name, amount in limits.items() if is_gpu(name)}) * pods == pytest.approx(
            gpus_of_stages(fields)[stage]
        )


def test_a_spec_that_cannot_be_read_counts_no_gpus() -> None:
    assert gpus_of_stages({"training": {"nodes": "two"}}) == {}


def test_the_default_is_no_gpu_where_trainings_have_none() -> None:
    assert pod_gpus("TrainDefender", Resources(), Training(gpus_per_node=0)) == {}
    assert pod_gpus("Attack", Resources(limits={"cpu": 4}), Training(gpus_per_node=8)) == {"nvidia.com/gpu": 1}
