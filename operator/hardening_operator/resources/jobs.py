"""The Job of a stage attempt: Indexed, one pod a shard or a node.

It never tries again by itself: the planner counts attempts, and each is a Job of its own. Only what is no fault of the
stage (a pod that was evicted, or that saved and left) is started again inside the Job.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hardening_api.stages import FINAL_EXITS, ExitCode
from hardening_operator.resources.attempt import StageAttempt
from hardening_operator.resources.pods import CONTAINER, pod_template

SHORTEST_TTL_SECONDS = 600
"""A finished Job stays at least this long, so that its result is read even if the operator was away for a while."""


def job(attempt: StageAttempt) -> dict[str, Any]:
    """Return the Job. `suspend` is left alone: it is Kueue's."""
    metadata = attempt.metadata()
    metadata["labels"] |= attempt.queue
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": attempt.pods,
        "parallelism": attempt.pods,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": pod_failure_rules()},
        "template": pod_template(attempt),
    }
    if attempt.deadline_seconds is not None:
        # The planner keeps the deadline; this one ends the pods should no operator be there to do it.
        spec["activeDeadlineSeconds"] = attempt.deadline_seconds
    if attempt.ttl_seconds is not None:
        spec["ttlSecondsAfterFinished"] = max(SHORTEST_TTL_SECONDS, attempt.ttl_seconds)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def pod_failure_rules() -> list[dict[str, Any]]:
    """Return what each way to fail means for the Job; what no rule names counts, and one is enough to end it."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": _exit_codes(FINAL_EXITS)},
        {"action": "Ignore", "onExitCodes": _exit_codes([ExitCode.TEMPORARY])},
    ]


def _exit_codes(codes: Iterable[ExitCode]) -> dict[str, Any]:
    return {"containerName": CONTAINER, "operator": "In", "values": sorted(map(int, codes))}
