"""What is made for runs and monitors: pure builders of plain Kubernetes objects. Nothing here talks to a cluster.

once a run                the claim of its workspace, where one is to be created
once a stage attempt      ConfigMap, NetworkPolicy, Service (several nodes), and last the Job
once a check's attempt    the Job, and what goes with the Job: NetworkPolicy and, without which no pod starts, ConfigMap
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hardening_api.monitor import HardeningMonitor
from hardening_api.run import HardeningRun
from hardening_api.stages import StageConfig
from hardening_operator.planner.names import (
    CHECK_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    MONITOR_LABEL,
    RUN_LABEL,
    check_job_name,
    check_of,
    job_reference,
    key_of,
    rerun_name,
    stage_job_name,
)
from hardening_operator.planner.types import StageKey
from hardening_operator.resources.attempt import StageAttempt, check_attempt, stage_attempt
from hardening_operator.resources.claims import claims, shared_workspace, workspace_url
from hardening_operator.resources.config_maps import config_maps
from hardening_operator.resources.jobs import job
from hardening_operator.resources.network_policies import network_policy
from hardening_operator.resources.pods import CONTAINER, METRICS_PORT
from hardening_operator.resources.services import services
from hardening_operator.resources.validation import monitor_problems, run_problems
from hardening_operator.settings import OperatorSettings

__all__ = [
    "CHECK_LABEL",
    "CONTAINER",
    "MANAGED_BY_LABEL",
    "MANAGER",
    "METRICS_PORT",
    "MONITOR_LABEL",
    "RUN_LABEL",
    "StageAttempt",
    "check_attempt",
    "check_objects",
    "check_job_name",
    "check_of",
    "stage_job_name",
    "job",
    "key_of",
    "monitor_objects",
    "rerun_name",
    "run_objects",
    "shared_workspace",
    "stage_objects",
    "run_problems",
    "monitor_problems",
    "workspace_url",
]


def run_objects(run: HardeningRun, settings: OperatorSettings) -> list[dict[str, Any]]:
    """Return what a run needs before its first stage. Raises ValueError for a run without uid, as all builders do."""
    return claims(run, settings)


def monitor_objects(monitor: HardeningMonitor, settings: OperatorSettings) -> list[dict[str, Any]]:
    """Return what a monitor needs before its first check: nothing where it goes by a run, whose workspace is used."""
    return claims(monitor, settings) if monitor.spec.run is None else []


def stage_objects(
    run: HardeningRun, settings: OperatorSettings, key: StageKey, attempt: int, configs: Sequence[StageConfig]
) -> list[dict[str, Any]]:
    """Return the objects of one stage attempt in the order to create them, the Job last.

    ``configs`` are the stage's, one a shard; the same arguments always give the same objects.
    """
    made = stage_attempt(run, settings, key, attempt, configs)
    policies = [network_policy(made)] if settings.network_policies else []
    return [*config_maps(made), *policies, *services(made), job(made)]


def check_objects(attempt: StageAttempt, job_uid: str) -> list[dict[str, Any]]:
    """Return what a check's Job needs, in the order to create it: its pods start once they have their config.

    All of it goes with the Job, so that a monitor of many years leaves no trail.
    """
    made = replace(attempt, owner=job_reference(attempt.name, job_uid))
    policies = [network_policy(made)] if attempt.settings.network_policies else []
    return [*policies, *config_maps(made)]
