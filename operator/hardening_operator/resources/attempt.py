"""One attempt at a stage: all that its objects are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hardening_api.run import HardeningRun, PodOverrides, S3Workspace
from hardening_api.stage import FOLDERS, StageConfig
from hardening_operator.observed import StageKey
from hardening_operator.resources.names import child_name, metadata, service_name, stage_labels
from hardening_operator.resources.overrides import overrides_of
from hardening_operator.settings import OperatorSettings

TRAININGS = ("TrainAttacker", "TrainDefender")


@dataclass(frozen=True)
class StageAttempt:
    """An attempt at one stage of a run."""

    run: HardeningRun
    settings: OperatorSettings
    key: StageKey
    number: int
    """From 1."""
    configs: Sequence[StageConfig]
    """One a shard, in the order of their index."""

    @cached_property
    def name(self) -> str:
        """Name of its Job."""
        return child_name(self.run.metadata.name, self.key, self.number)

    @cached_property
    def labels(self) -> dict[str, str]:
        """Labels of its objects and pods."""
        return stage_labels(self.run.metadata.name, self.key, self.number)

    @cached_property
    def overrides(self) -> PodOverrides:
        """What the run says of its pods."""
        return overrides_of(self.run.spec.stages, self.key.stage)

    @property
    def command(self) -> str:
        """Name of the stage on the trainer's command line."""
        return FOLDERS[self.key.stage]

    @property
    def trains(self) -> bool:
        """Whether it is one of the two trainings."""
        return self.key.stage in TRAININGS

    @property
    def nodes(self) -> int:
        """How many pods work on one training; 1 for every other stage."""
        return self.run.spec.training.nodes if self.trains else 1

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
        return self.run.spec.workspace.s3

    def metadata(self, name: str | None = None) -> dict[str, Any]:
        """Return the metadata of one of its objects, of the Job's name unless told otherwise."""
        return metadata(self.run, name or self.name, self.labels)
