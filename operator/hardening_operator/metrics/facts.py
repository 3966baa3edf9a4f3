"""What a scrape needs to know of a resource: small views that an index can keep.

Statuses are read as plain JSON data, not through the contract's models: a scrape of a thousand runs has no time to
validate what the API server validated, and a status written by another version of the operator must not break it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from hardening_api.pods import Stages
from hardening_api.run import HardeningRun
from hardening_api.stages import STAGES
from hardening_api.status import HardeningRunStatus
from hardening_api.training import Training
from hardening_operator.planner.gpus import stage_gpus

MODEL_LENGTH = 100
"""Longest model name in a label, from its end; a URI may have ten times that."""


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
    gpus: Mapping[str, float] = field(default_factory=dict)
    """GPUs each stage holds while it runs, all its pods together."""


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
        gpus=gpus_of_stages(spec),
    )


def facts_of_monitor_object(body: Mapping[str, Any]) -> MonitorFacts:
    """Return the facts of a HardeningMonitor object as the API server gives it."""
    metadata = body["metadata"]
    return MonitorFacts(metadata["namespace"], metadata["name"], metadata["uid"], body.get("status") or {})


def facts_of_local_run(run: HardeningRun, status: HardeningRunStatus) -> RunFacts:
    """Return the facts of a local run, which has no GPUs set aside for it."""
    return RunFacts(
        namespace=run.metadata.namespace or "default",
        name=run.metadata.name,
        uid=run.metadata.uid or "local",
        status=status.to_document(),
        model=shortened_model(run.spec.model.uri),
        approval=run.spec.promotion.approval,
        rounds=run.spec.rounds,
    )


def gpus_of_stages(spec: Mapping[str, Any]) -> dict[str, float]:
    """Return the GPUs that each stage holds while it runs, all its pods together (see `planner.gpus`).

    None of a spec that this version cannot read, which it does not start either.
    """
    try:
        stages = Stages.model_validate(spec.get("stages") or {})
        training = Training.model_validate(spec.get("training") or {})
    except ValidationError:
        return {}
    return {stage: stage_gpus(stages, training, stage) for stage in STAGES}


def shortened_model(uri: str) -> str:
    """Return the end of a model's URI, which names the model."""
    return uri[-MODEL_LENGTH:]
