"""Jobs and pods of runs and monitors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hardening_operator.cluster.extracts import JobExtract, PodExtract, job_extract, owner_of, pod_extract
from hardening_operator.cluster.queue import Key
from hardening_operator.cluster.world import World


def index_job(body: Mapping[str, Any]) -> dict[Key, JobExtract]:
    """Return a Job's extract under whose it is; nothing for a Job that is no stage and no check."""
    owner, job = owner_of(body), job_extract(body)
    return {owner: job} if owner is not None and job is not None else {}


def index_pod(body: Mapping[str, Any]) -> dict[Key, PodExtract]:
    """Return a pod's extract under whose it is; nothing for a pod of no Job."""
    owner, pod = owner_of(body), pod_extract(body)
    return {owner: pod} if owner is not None and pod is not None else {}


def handle_job_event(body: Mapping[str, Any], world: World, wake: Callable[[Key], None]) -> None:
    """Have the Job's run or monitor looked at."""
    owner = owner_of(body)
    if owner is not None:
        world.saw_job(owner, body["metadata"]["uid"])
        wake(owner)


def handle_pod_event(body: Mapping[str, Any], wake: Callable[[Key], None]) -> None:
    """Have the pod's run or monitor looked at."""
    owner = owner_of(body)
    if owner is not None:
        wake(owner)
