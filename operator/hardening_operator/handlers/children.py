"""Jobs and pods of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hardening_operator.cluster.extracts import (
    Address,
    JobExtract,
    PodExtract,
    job_extract,
    pod_extract,
    run_of,
)
from hardening_operator.cluster.queue import Key
from hardening_operator.cluster.reconcile import KIND
from hardening_operator.cluster.world import World


def index_job(body: Mapping[str, Any]) -> dict[Address, JobExtract]:
    """Return a Job's extract under its run's address; nothing for a Job that is no stage."""
    address, job = run_of(body), job_extract(body)
    return {address: job} if address is not None and job is not None else {}


def index_pod(body: Mapping[str, Any]) -> dict[Address, PodExtract]:
    """Return a pod's extract under its run's address; nothing for a pod of no Job."""
    address, pod = run_of(body), pod_extract(body)
    return {address: pod} if address is not None and pod is not None else {}


def handle_job_event(body: Mapping[str, Any], world: World, wake: Callable[[Key], None]) -> None:
    """Have the Job's run looked at."""
    address = run_of(body)
    if address is not None:
        world.saw_job(address, body["metadata"]["uid"])
        wake(Key(KIND, *address))


def handle_pod_event(body: Mapping[str, Any], wake: Callable[[Key], None]) -> None:
    """Have the pod's run looked at."""
    address = run_of(body)
    if address is not None:
        wake(Key(KIND, *address))
