"""One attempt at a stage of a run, or at a check of a monitor: all that its objects are built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardening_api.monitor import ActiveCheck, HardeningMonitor
from hardening_api.pods import PodOverrides
from hardening_api.run import HardeningRun, S3Workspace
from hardening_api.stages import STAGES, StageConfig
from hardening_api.status import StageName
from hardening_api.training import Training
from hardening_operator.planner.names import (
    check_job_name,
    check_labels,
    kueue_labels,
    namespace_of,
    owner_reference,
    service_name,
    stage_job_name,
    stage_labels,
)
from hardening_operator.planner.types import StageKey
from hardening_operator.resources.claims import Holder, workspace_of
from hardening_operator.settings import OperatorSettings

CHECK_TTL_SECONDS = 86_400
"""A finished check's Job, with its log, stays for a day; what it found stays in the monitor's status."""


@dataclass(frozen=True)
class StageAttempt:
    """An attempt at one stage."""

    settings: OperatorSettings
    stage: StageName
    name: str
    """Of its Job."""
    namespace: str
    owner: Mapping[str, Any]
    """Owner reference: its objects are deleted with that owner."""
    labels: Mapping[str, str]
    """Of its objects and pods; no other attempt has the same."""
    queue: Mapping[str, str]
    """Labels by which Kueue queues its Job."""
    configs: Sequence[StageConfig]
    """One a shard, in the order of their index."""
    overrides: PodOverrides
    """What is said of its pods."""
    training: Training
    """How many nodes and GPUs a training has, and by default every stage."""
    holder: Holder
    """Whose workspace it works in."""
    deadline_seconds: int | None = None
    ttl_seconds: int | None = None

    @property
    def command(self) -> str:
        """Name of the stage on the trainer's command line."""
        return STAGES[self.stage].folder

    @property
    def trains(self) -> bool:
        """Whether it is one of the two trainings."""
        return STAGES[self.stage].trains

    @property
    def nodes(self) -> int:
        """How many pods work on one training; 1 for every other stage."""
        return self.training.nodes if self.trains else 1

    @property
    def pods(self) -> int:
        """How many pods it has: one a shard, or one a node."""
        return max(len(self.configs), self.nodes)

    @property
    def service(self) -> str:
        """Name of the headless Service through which nodes find each other."""
        return service_name(self.name)

    @property
    def bucket(self) -> S3Workspace | None:
        """The workspace, where it is a bucket."""
        return workspace_of(self.holder).s3

    def metadata(self, name: str | None = None) -> dict[str, Any]:
        """Return the metadata of one of its objects, of the Job's name unless another is given."""
        return {
            "name": name or self.name,
            "namespace": self.namespace,
            "labels": dict(self.labels),
            "ownerReferences": [dict(self.owner)],
        }


def stage_attempt(
    run: HardeningRun, settings: OperatorSettings, key: StageKey, number: int, configs: Sequence[StageConfig]
) -> StageAttempt:
    """Return attempt ``number``, from 1, at a stage of a run. Raises ValueError for a run without uid."""
    return StageAttempt(
        settings=settings,
        stage=key.stage,
        name=stage_job_name(run.metadata.name, key, number),
        namespace=namespace_of(run),
        owner=owner_reference(run),
        labels=stage_labels(run.metadata.name, key, number),
        queue=kueue_labels(run),
        configs=configs,
        overrides=run.spec.stages.of(key.stage),
        training=run.spec.training,
        holder=run,
        deadline_seconds=run.spec.active_deadline_seconds,
        ttl_seconds=run.spec.ttl_seconds_after_finished,
    )


def check_attempt(
    monitor: HardeningMonitor,
    run: HardeningRun | None,
    settings: OperatorSettings,
    check: ActiveCheck,
    config: StageConfig,
) -> StageAttempt:
    """Return an attempt at a check: the Evaluate stage of ``run``, the run it goes by, but of one shard.

    It works in that run's workspace, or in the monitor's own where that names no run.
    """
    evaluate = run.spec.stages.of("Evaluate") if run is not None else PodOverrides()
    return StageAttempt(
        settings=settings,
        stage="Evaluate",
        name=check_job_name(check.name, check.attempt),
        namespace=namespace_of(monitor),
        owner=owner_reference(monitor),
        labels=check_labels(monitor.metadata.name, check.name, check.attempt),
        queue=(kueue_labels(run) if run is not None else {}) | kueue_labels(monitor),
        configs=[config],
        overrides=monitor.spec.pod.over(evaluate),
        training=run.spec.training if run is not None else Training(),
        holder=run if run is not None else monitor,
        deadline_seconds=monitor.spec.active_deadline_seconds,
        ttl_seconds=CHECK_TTL_SECONDS,
    )
