"""What is made for a run: pure builders of plain Kubernetes objects. Nothing here talks to a cluster.

once a run                the claim of its workspace, where one is to be created
once a stage attempt      ConfigMap, NetworkPolicy, Service (several nodes), and last the Job
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardening_api.run import HardeningRun
from hardening_api.stage import StageConfig
from hardening_operator.observed import StageKey
from hardening_operator.resources.attempt import StageAttempt
from hardening_operator.resources.claims import claims, workspace_url
from hardening_operator.resources.config_maps import config_maps
from hardening_operator.resources.findings import unusable
from hardening_operator.resources.jobs import job
from hardening_operator.resources.names import RUN_LABEL, child_name, key_of
from hardening_operator.resources.network_policies import network_policy
from hardening_operator.resources.pods import CONTAINER, METRICS_PORT
from hardening_operator.resources.services import services
from hardening_operator.settings import OperatorSettings

__all__ = [
    "CONTAINER",
    "METRICS_PORT",
    "RUN_LABEL",
    "child_name",
    "key_of",
    "run_children",
    "stage_children",
    "unusable",
    "workspace_url",
]


def run_children(run: HardeningRun, settings: OperatorSettings) -> list[dict[str, Any]]:
    """Return what a run needs before its first stage. Raises ValueError for a run without uid, as all builders do."""
    return claims(run, settings)


def stage_children(
    run: HardeningRun, settings: OperatorSettings, key: StageKey, attempt: int, configs: Sequence[StageConfig]
) -> list[dict[str, Any]]:
    """Return the objects of one stage attempt in the order to create them, the Job last.

    ``configs`` are the stage's, one a shard; the same arguments always give the same objects.
    """
    made = StageAttempt(run, settings, key, attempt, configs)
    policies = [network_policy(made)] if settings.network_policies else []
    return [*config_maps(made), *policies, *services(made), job(made)]
