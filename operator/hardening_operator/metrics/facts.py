"""What a scrape needs to know of a resource: small views that an index can keep.

Statuses are read as plain JSON data, not through the contract's models: a scrape of a thousand runs has no time to
validate what the API server validated, and a status written by another version of the operator must not break it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hardening_api.run import HardeningRun
from hardening_api.status import HardeningRunStatus

MODEL_LENGTH = 100
"""Longest model name in a label, from its end; a URI may have ten times that."""
GPU = "nvidia.com/gpu"
STAGE_SECTIONS = {
    "Attack": "attack",
    "Score": "score",
    "TrainAttacker": "trainAttacker",
    "TrainDefender": "trainDefender",
    "Evaluate": "evaluate",
    "Promote": "promote",
}


@dataclass(frozen=True)
class RunFacts:
    """A run, as a scrape sees it."""

    namespace: str
    name: str
    uid: str
    status: Mapping[str, Any] = field(default_factory=dict)
    """The status as JSON data, camelCase."""
    model: str = ""
    """URI of the base."""
    approval: str = "Automatic"
    rounds: int = 3
    gpus: Mapping[str, int] = field(default_factory=dict)
    """GPUs each stage asks for, all its pods together."""


@dataclass(frozen=True)
class MonitorFacts:
    """A monitor, as a scrape sees it."""

    namespace: str
    name: str
    uid: str
    status: Mapping[str, Any] = field(default_factory=dict)
    """The status as JSON data, camelCase."""


def facts_of_run_object(body: Mapping[str, Any]) -> RunFacts:
    """Return the facts of a HardeningRun object as the API server gives it."""
    metadata, spec = body["metadata"], body.get("spec", {})
    return RunFacts(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        status=body.get("status") or {},
        model=shortened_model(spec.get("model", {}).get("uri", "")),
        approval=spec.get("promotion", {}).get("approval", "Automatic"),
        rounds=spec.get("rounds", 3),
        gpus=gpus_asked_for(spec),
    )


def facts_of_monitor_object(body: Mapping[str, Any]) -> MonitorFacts:
    """Return the facts of a HardeningMonitor object as the API server gives it."""
    metadata = body["metadata"]
    return MonitorFacts(metadata["namespace"], metadata["name"], metadata["uid"], body.get("status") or {})


def facts_of_local_run(run: HardeningRun, status: HardeningRunStatus) -> RunFacts:
    """Return the facts of an embedded run, which has no GPUs set aside for it."""
    return RunFacts(
        namespace=run.metadata.namespace or "default",
        name=run.metadata.name,
        uid=run.metadata.uid or "embedded",
        status=status.to_document(),
        model=shortened_model(run.spec.model.uri),
        approval=run.spec.promotion.approval,
        rounds=run.spec.rounds,
    )


def gpus_asked_for(spec: Mapping[str, Any]) -> dict[str, int]:
    """Return the GPUs of each stage, all its pods together: its own limit, else that of all stages, else the default.

    By default a pod of Attack, Score or Evaluate asks for one, one of a training for `training.gpusPerNode`, Promote
    for none; with `training.gpusPerNode: 0` no stage asks for any.
    """
    training, stages = spec.get("training", {}), spec.get("stages", {})
    per_node = training.get("gpusPerNode", 1)
    asked = {}
    for stage, section in STAGE_SECTIONS.items():
        is_training = stage.startswith("Train")
        default = per_node if is_training else int(per_node > 0 and stage != "Promote")
        limits = {
            **stages.get("all", {}).get("resources", {}).get("limits", {}),
            **stages.get(section, {}).get("resources", {}).get("limits", {}),
        }
        pods = training.get("nodes", 1) if is_training else _shards(stages, stage)
        asked[stage] = int(limits.get(GPU, default)) * pods
    return asked


def _shards(stages: Mapping[str, Any], stage: str) -> int:
    """Return how many pods a stage without training has; Score has those of Attack, whose shards it reads."""
    if stage == "Promote":
        return 1
    section = "evaluate" if stage == "Evaluate" else "attack"
    return int(stages.get(section, {}).get("shards") or stages.get("all", {}).get("shards") or 1)


def shortened_model(uri: str) -> str:
    """Return the end of a model's URI, which names the model."""
    return uri[-MODEL_LENGTH:]
