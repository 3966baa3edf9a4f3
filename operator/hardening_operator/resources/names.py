"""Names and labels of what is made for a run: the same run, stage and attempt always give the same ones.

    <run>-r<round>-<stage>[-a<attempt>]    Job, ConfigMap, NetworkPolicy, and the Service of several nodes
    <run>-workspace                        the claim

A Job's pods are named `<job>-<index>-xxxxx` and may take 63 characters, so a Job may take 52. Where it would take
more, the run's part is cut and gets the first 8 hex digits of the whole name's sha256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from hardening_api.base import API_VERSION
from hardening_api.run import HardeningRun
from hardening_api.stage import FOLDERS
from hardening_api.status import StageName
from hardening_operator.observed import StageKey

RUN_LABEL = "hardening.dev/run"
ROUND_LABEL = "hardening.dev/round"
STAGE_LABEL = "hardening.dev/stage"
ATTEMPT_LABEL = "hardening.dev/attempt"
NAME_LABEL = "app.kubernetes.io/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "hardening-operator"
STAGE_APP, WORKSPACE_APP = "hardening-stage", "hardening-workspace"
KUEUE_LABELS = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")

LONGEST_JOB = 52
STAGES: dict[str, StageName] = {folder: stage for stage, folder in FOLDERS.items()}


def child_name(run_name: str, key: StageKey, attempt: int) -> str:
    """Return the name of a stage attempt's Job and of what goes with it; at most 52 characters."""
    again = f"-a{attempt}" if attempt > 1 else ""
    ending = f"-r{key.round}-{FOLDERS[key.stage]}{again}"
    if len(run_name) + len(ending) <= LONGEST_JOB:
        return run_name + ending
    mark = _digest(run_name + ending)
    return f"{run_name[: LONGEST_JOB - len(ending) - len(mark) - 1]}-{mark}{ending}"


def service_name(job: str) -> str:
    """Return the name of a Job's headless Service: the Job's own, unless that begins with a digit.

    The name of a Service must begin with a letter.
    """
    return job if job[0].isalpha() else f"n{_digest(job)}-{job}"


def claim_name(run_name: str) -> str:
    """Return the name of the claim that is created for a run."""
    return f"{run_name}-workspace"


def stage_labels(run_name: str, key: StageKey, attempt: int) -> dict[str, str]:
    """Return the labels of a stage attempt's objects and pods; no other attempt has the same."""
    return {
        NAME_LABEL: STAGE_APP,
        MANAGED_BY_LABEL: MANAGER,
        RUN_LABEL: run_name,
        ROUND_LABEL: str(key.round),
        STAGE_LABEL: FOLDERS[key.stage],
        ATTEMPT_LABEL: str(attempt),
    }


def run_labels(run_name: str) -> dict[str, str]:
    """Return the labels of what belongs to no one stage of a run."""
    return {NAME_LABEL: WORKSPACE_APP, MANAGED_BY_LABEL: MANAGER, RUN_LABEL: run_name}


def key_of(labels: Mapping[str, str]) -> tuple[StageKey, int] | None:
    """Return stage and attempt that a Job's or Pod's labels name; None when the object is not one of ours."""
    stage = STAGES.get(labels.get(STAGE_LABEL, ""))
    round_number, attempt = (labels.get(name, "") for name in (ROUND_LABEL, ATTEMPT_LABEL))
    ours = labels.get(MANAGED_BY_LABEL) == MANAGER and labels.get(RUN_LABEL)
    if not ours or stage is None or not (_is_number(round_number) and _is_number(attempt)) or int(attempt) < 1:
        return None
    return StageKey(int(round_number), stage), int(attempt)


def kueue_labels(run: HardeningRun) -> dict[str, str]:
    """Return the labels by which Kueue queues a Job, as the run has them."""
    labels = _metadata(run).get("labels") or {}
    return {name: labels[name] for name in KUEUE_LABELS if name in labels}


def metadata(run: HardeningRun, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata of an object that is deleted with its run. Raises ValueError for a run without uid."""
    return {
        "name": name,
        "namespace": namespace_of(run),
        "labels": dict(labels),
        "ownerReferences": [_owner(run)],
    }


def namespace_of(run: HardeningRun) -> str:
    """Return the namespace of a run and of all that is made for it."""
    return run.metadata.namespace or "default"


def _owner(run: HardeningRun) -> dict[str, Any]:
    if run.metadata.uid is None:
        raise ValueError(f"metadata.uid of {run.metadata.name}: got nothing: expected a run as the API server has it")
    return {
        "apiVersion": API_VERSION,
        "kind": run.kind,
        "name": run.metadata.name,
        "uid": run.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _metadata(run: HardeningRun) -> Mapping[str, Any]:
    return run.metadata.model_extra or {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", text) is not None
