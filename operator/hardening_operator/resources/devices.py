"""Requests and limits of a stage's container: what the run says, and GPUs where it does not speak of them."""

from __future__ import annotations

from typing import Any

from hardening_api.base import amount_of
from hardening_api.pods import Resources
from hardening_operator.planner.gpus import is_gpu, pod_gpus
from hardening_operator.resources.attempt import StageAttempt


def container_resources(attempt: StageAttempt) -> dict[str, Any]:
    """Return the container's resources.

    GPUs stand among the limits only: the API server takes them for requests as well, and refuses two numbers.
    """
    given = attempt.overrides.resources or Resources()
    limits = {name: amount for name, amount in given.limits.items() if not is_gpu(name)}
    limits |= pod_gpus(attempt.stage, given, attempt.training)
    requests = {name: amount for name, amount in given.requests.items() if not is_gpu(name)}
    return {
        field: {name: str(amount) for name, amount in amounts.items()}
        for field, amounts in (("limits", limits), ("requests", requests))
        if amounts
    }


def has_gpu(attempt: StageAttempt) -> bool:
    """Return whether the stage's container is given a GPU."""
    return bool(pod_gpus(attempt.stage, attempt.overrides.resources or Resources(), attempt.training))


def threads(attempt: StageAttempt) -> int | None:
    """Return how many threads each process computes with, where the CPU limit says; else None.

    Without it a process starts one for each core of the node, and they stand in each other's way under the limit.
    """
    limit = (attempt.overrides.resources or Resources()).limits.get("cpu")
    if limit is None:
        return None
    processes = attempt.training.processes if attempt.trains else 1
    return max(1, int(amount_of(limit) / processes))
