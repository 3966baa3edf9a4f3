"""Requests and limits of a stage's container: what the run says, and GPUs where it does not speak of them."""

from __future__ import annotations

from typing import Any

from hardening_api.pods import Resources
from hardening_operator.resources.attempt import StageAttempt

GPU = "nvidia.com/gpu"


def container_resources(attempt: StageAttempt) -> dict[str, Any]:
    """Return the container's resources.

    A GPU named in the overrides, of whatever vendor or slice, takes the place of the default; a number of 0 is none.
    GPUs stand among the limits only: the API server takes them for requests as well, and refuses two numbers.
    """
    given = attempt.overrides.resources or Resources()
    gpus = {name: count for name, count in (given.requests | given.limits).items() if _is_gpu(name)}
    limits = {name: amount for name, amount in given.limits.items() if name not in gpus}
    limits |= {name: count for name, count in (gpus or {GPU: _default_gpus(attempt)}).items() if str(count) != "0"}
    requests = {name: amount for name, amount in given.requests.items() if name not in gpus}
    return {
        field: {name: str(amount) for name, amount in amounts.items()}
        for field, amounts in (("limits", limits), ("requests", requests))
        if amounts
    }


def has_gpu(attempt: StageAttempt) -> bool:
    """Tell whether the stage's container is given a GPU."""
    return any(_is_gpu(name) for name in container_resources(attempt).get("limits", {}))


def threads(attempt: StageAttempt) -> int | None:
    """Return how many threads each process computes with, where the CPU limit says; else None.

    Without it a process starts one for each core of the node, and they stand in each other's way under the limit.
    """
    limit = str(container_resources(attempt).get("limits", {}).get("cpu", ""))
    try:
        cores = float(limit.removesuffix("m")) / (1000 if limit.endswith("m") else 1)
    except ValueError:
        return None
    return max(1, int(cores / _processes(attempt)))


def _processes(attempt: StageAttempt) -> int:
    training = attempt.training
    return (training.processes_per_node or max(1, training.gpus_per_node)) if attempt.trains else 1


def _default_gpus(attempt: StageAttempt) -> int:
    per_node = attempt.training.gpus_per_node
    if attempt.trains:
        return per_node
    return 0 if attempt.stage == "Promote" else min(1, per_node)


def _is_gpu(name: str) -> bool:
    return "gpu" in name or "/mig-" in name
