"""Names and labels of what is made for runs and monitors: the same stage and attempt always give the same ones.

    <run>-r<round>-<stage>[-a<attempt>]    Job, ConfigMap, NetworkPolicy, and the Service of several nodes
    <run>-workspace                        the claim
    <monitor>-<time>[-a<attempt>]          Job, ConfigMap, NetworkPolicy of a check; its time in seconds since 1970
    <monitor>-checks                       the claim of a monitor that names no run
    <monitor>-rerun-<time>                 the HardeningRun that a check gave rise to

A Job's pods are named `<job>-<index>-xxxxx` and may take 63 characters, so a Job may take 52. Where it would take
more, the first part is cut and gets the first 8 hex digits of the whole name's sha256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from hardening_api.base import API_VERSION
from hardening_api.monitor import HardeningMonitor
from hardening_api.run import HardeningRun
from hardening_api.stages import STAGE_OF_FOLDER, STAGES
from hardening_operator.planner.types import StageKey

RUN_LABEL = "hardening.dev/run"
ROUND_LABEL = "hardening.dev/round"
STAGE_LABEL = "hardening.dev/stage"
ATTEMPT_LABEL = "hardening.dev/attempt"
MONITOR_LABEL = "hardening.dev/monitor"
MONITOR_UID_LABEL = "hardening.dev/monitor-uid"
OWNER_UID_LABEL = "hardening.dev/owner-uid"
"""On pods: the uid of their run or monitor. A pod's owner is its Job, and an orphan has none."""
CHECK_LABEL = "hardening.dev/check"
WORKSPACE_LABEL = "hardening.dev/workspace"
NAME_LABEL = "app.kubernetes.io/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "hardening-operator"
STAGE_APP, WORKSPACE_APP = "hardening-stage", "hardening-workspace"
KUEUE_LABELS = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")

Owner = HardeningRun | HardeningMonitor
LONGEST_JOB = 52


def stage_job_name(run_name: str, key: StageKey, attempt: int) -> str:
    """Return the name of a stage attempt's Job and of what goes with it; at most 52 characters."""
    return _fitted(run_name, f"-r{key.round}-{STAGES[key.stage].folder}{_again(attempt)}")


def check_job_name(check: str, attempt: int) -> str:
    """Return the name of a check's Job and of what goes with it; at most 52 characters."""
    monitor, _, time = check.rpartition("-")
    return _fitted(monitor, f"-{time}{_again(attempt)}")


def rerun_name(monitor: str, check: str) -> str:
    """Return the name of the HardeningRun that a check gives rise to; no other check's is the same."""
    return _fitted(monitor, f"-rerun-{check.rpartition('-')[2]}")


def service_name(job: str) -> str:
    """Return the name of a Job's headless Service: the Job's own, unless that begins with a digit.

    The name of a Service must begin with a letter.
    """
    return job if job[0].isalpha() else f"n{_digest(job)}-{job}"


def claim_name(run_name: str) -> str:
    """Return the name of the claim that is created for a run."""
    return f"{run_name}-workspace"


def monitor_claim_name(monitor: str) -> str:
    """Return the name of the claim that is created for a monitor that names no run."""
    return f"{monitor}-checks"


def stage_labels(run_name: str, key: StageKey, attempt: int) -> dict[str, str]:
    """Return the labels of a stage attempt's objects and pods; no other attempt has the same."""
    return {
        NAME_LABEL: STAGE_APP,
        MANAGED_BY_LABEL: MANAGER,
        RUN_LABEL: run_name,
        ROUND_LABEL: str(key.round),
        STAGE_LABEL: STAGES[key.stage].folder,
        ATTEMPT_LABEL: str(attempt),
    }


def check_labels(monitor: str, check: str, attempt: int) -> dict[str, str]:
    """Return the labels of the objects and pods of an attempt at a check; no other attempt has the same."""
    return {
        NAME_LABEL: STAGE_APP,
        MANAGED_BY_LABEL: MANAGER,
        MONITOR_LABEL: monitor,
        CHECK_LABEL: check,
        STAGE_LABEL: STAGES["Evaluate"].folder,
        ATTEMPT_LABEL: str(attempt),
    }


def workspace_labels(owner: Owner) -> dict[str, str]:
    """Return the labels of a claim, which belongs to no one stage."""
    whose = RUN_LABEL if isinstance(owner, HardeningRun) else MONITOR_LABEL
    return {NAME_LABEL: WORKSPACE_APP, MANAGED_BY_LABEL: MANAGER, whose: owner.metadata.name}


def key_of(labels: Mapping[str, str]) -> tuple[StageKey, int] | None:
    """Return stage and attempt that a Job's or Pod's labels name; None when the object is not one of ours."""
    stage = STAGE_OF_FOLDER.get(labels.get(STAGE_LABEL, ""))
    round_number, attempt = (labels.get(name, "") for name in (ROUND_LABEL, ATTEMPT_LABEL))
    ours = labels.get(MANAGED_BY_LABEL) == MANAGER and labels.get(RUN_LABEL)
    if not ours or stage is None or not (_is_number(round_number) and _is_number(attempt)) or int(attempt) < 1:
        return None
    return StageKey(int(round_number), stage), int(attempt)


def check_of(labels: Mapping[str, str]) -> tuple[str, int] | None:
    """Return check and attempt that a Job's or Pod's labels name; None when the object is of no check."""
    check, attempt = labels.get(CHECK_LABEL), labels.get(ATTEMPT_LABEL, "")
    ours = labels.get(MANAGED_BY_LABEL) == MANAGER and labels.get(MONITOR_LABEL)
    if not ours or not check or not _is_number(attempt) or int(attempt) < 1:
        return None
    return check, int(attempt)


def kueue_labels(owner: Owner) -> dict[str, str]:
    """Return the labels by which Kueue queues a Job, as the run or monitor has them."""
    labels = (owner.metadata.model_extra or {}).get("labels") or {}
    return {name: labels[name] for name in KUEUE_LABELS if name in labels}


def namespace_of(owner: Owner) -> str:
    """Return the namespace of a run or monitor and of all that is made for it."""
    return owner.metadata.namespace or "default"


def owner_reference(owner: Owner) -> dict[str, Any]:
    """Return the reference of an object that is deleted with its owner. Raises ValueError for one without uid."""
    if owner.metadata.uid is None:
        text = f"metadata.uid of {owner.metadata.name}: got nothing: expected an object as the API server has it"
        raise ValueError(text)
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def job_reference(name: str, uid: str) -> dict[str, Any]:
    """Return the reference of an object that goes with a Job; the Job does not wait for it."""
    return {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": True}


def _again(attempt: int) -> str:
    return f"-a{attempt}" if attempt > 1 else ""


def _fitted(name: str, ending: str) -> str:
    if len(name) + len(ending) <= LONGEST_JOB:
        return name + ending
    mark = _digest(name + ending)
    return f"{name[: LONGEST_JOB - len(ending) - len(mark) - 1]}-{mark}{ending}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", text) is not None
