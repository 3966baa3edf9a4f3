"""The GPUs of a stage: what one of its pods is given, and how many GPUs all of them hold.

Builders give pods what `pod_gpus` says, and metrics count what `stage_gpus` says, so that both speak of the same GPUs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hardening_api.base import Quantity, amount_of
from hardening_api.pods import Resources, Stages
from hardening_api.stages import STAGES
from hardening_api.status import StageName
from hardening_api.training import Training

DEFAULT_GPU = "nvidia.com/gpu"
MIG_SLICES = 7
"""Compute slices of a GPU that NVIDIA's MIG can divide: A100, H100, H200, B200."""
A30_SLICES = 4
A30_PROFILES = ("1g.6gb", "2g.12gb", "4g.24gb")
AMD_PARTITIONS = {"spx": 1, "dpx": 2, "tpx": 3, "qpx": 4, "cpx": 8}
"""Partitions of one Instinct accelerator by compute mode; CPX gives one for each of the MI300X's eight dies."""
MIG_PROFILE = re.compile(r"/mig-(?:(?P<instance>[1-7])c\.)?(?P<profile>(?P<slices>[1-7])g\.[0-9]+gb)")
AMD_PARTITION = re.compile(r"^amd\.com/(?P<mode>spx|dpx|tpx|qpx|cpx)_nps[0-9]+$")
DEVICE = re.compile(r"(gpu(\.shared)?|^gpu\.intel\.com/(i915|xe))$")


def is_gpu(resource: str) -> bool:
    """Return whether an extended resource is a GPU, a part of one, or a measure of one (memory, cores)."""
    return "gpu" in resource or "/mig-" in resource or AMD_PARTITION.match(resource) is not None


def pod_gpus(stage: StageName, resources: Resources, training: Training) -> dict[str, Quantity]:
    """Return what one pod of ``stage`` is given of GPUs, by resource; empty for none.

    A GPU that ``resources`` name, of whatever vendor or slice, takes the place of the default; a limit goes before a
    request, which Kubernetes wants equal for such resources; an amount of 0 is none. By default a pod of a training
    has `training.gpusPerNode`, one of another stage that computes with models has one, unless that is 0.
    """
    asked = resources.requests | resources.limits
    given = {name: amount for name, amount in asked.items() if is_gpu(name)}
    if not given:
        given = {DEFAULT_GPU: _default(stage, training.gpus_per_node)}
    return {name: amount for name, amount in given.items() if amount_of(amount) > 0}


def _default(stage: StageName, per_node: int) -> int:
    if STAGES[stage].trains:
        return per_node
    return min(1, per_node) if STAGES[stage].loads_models else 0


def gpu_count(given: Mapping[str, Quantity]) -> float:
    """Return how many whole GPUs the amounts by resource make.

    A MIG slice counts by its share of the GPU's compute: `g/7`, on an A30 `g/4`; of `1c.2g`, a compute instance inside
    a slice, `c/7`. A partition of an Instinct accelerator counts one over the number of its mode. Everything else that
    is a device counts 1, a time-sliced `gpu.shared` too, whose share no name says. Where only memory or cores of a GPU
    are named, the pod sits on one.
    """
    counted = [amount_of(amount) * share for name, amount in given.items() if (share := _share(name)) is not None]
    return sum(counted) if counted else float(bool(given))


def stage_gpus(stages: Stages, training: Training, stage: StageName) -> float:
    """Return how many GPUs a stage holds while it runs, all its pods together."""
    per_pod = gpu_count(pod_gpus(stage, stages.resources_of(stage), training))
    return per_pod * pod_count(stages, training, stage)


def pod_count(stages: Stages, training: Training, stage: StageName) -> int:
    """Return how many pods a stage has: one a node of a training, else one a shard."""
    return training.nodes if STAGES[stage].trains else stages.shards_of(stage)


def _share(resource: str) -> float | None:
    """Return the part of a GPU that one unit of a resource is; None for a unit that is no device."""
    if mig := MIG_PROFILE.search(resource):
        slices = A30_SLICES if mig["profile"] in A30_PROFILES else MIG_SLICES
        return int(mig["instance"] or mig["slices"]) / slices
    if amd := AMD_PARTITION.match(resource):
        return 1 / AMD_PARTITIONS[amd["mode"]]
    return 1.0 if DEVICE.search(resource) else None
