"""What the operator keeps in memory of each object it watches: a few fields, read once from the object's JSON.

Everything else, above all `managedFields` and pod specs, is dropped, so that thousands of objects fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hardening_operator.controller.runtime.queue import MONITOR, RUN, Key
from hardening_operator.planner.names import OWNER_UID_LABEL
from hardening_operator.planner.types import StageKey
from hardening_operator.resources import CONTAINER, MONITOR_LABEL, RUN_LABEL, check_of, key_of

LOST_NODE_GRACE = timedelta(minutes=5)
"""So long after a pod should have been gone, it is taken to be on a lost node, where it never goes."""
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
KEPT_METADATA = ("name", "namespace", "uid", "generation", "labels")

CHECK_KEY = StageKey(0, "Evaluate")
"""A check has no round; it is an Evaluate."""

Document = Mapping[str, Any]
Task = StageKey | str
"""What an attempt is at: a stage of a run, or the check of a monitor that bears this name."""


@dataclass(frozen=True, slots=True)
class ResourceView:
    """A HardeningRun or HardeningMonitor."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    deleting: bool
    document: Document
    """The object with the metadata that is needed, spec and status."""

    @property
    def key(self) -> Key:
        """Which resource it is."""
        return Key(self.document["kind"], self.namespace, self.name)

    @property
    def status(self) -> Document:
        """The status as JSON data; empty for a new one."""
        status: Document = self.document.get("status") or {}
        return status


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job that is one attempt at one stage of a run, or at a check of a monitor."""

    uid: str
    name: str
    owner_uid: str
    key: StageKey
    attempt: int
    pods: int
    """Completions: its shards, or the nodes of a training."""
    created: datetime
    started: datetime | None = None
    """When it began, or resumed after it was suspended."""
    ended: datetime | None = None
    complete: bool = False
    failed: tuple[str, str] | None = None
    """Reason and message of its Failed condition."""
    suspended: bool = False
    """Held by a queue such as Kueue."""
    deleting: bool = False
    check: str | None = None
    """Name of the check."""

    @property
    def task(self) -> Task:
        """The stage or check it is an attempt at."""
        return self.key if self.check is None else self.check

    @property
    def overrides_field(self) -> str:
        """Where in its owner's spec its pods can be changed."""
        return "spec.stages" if self.check is None else "spec.pod"

    @property
    def next_try(self) -> str:
        """What makes another attempt after one that no retry helps."""
        return "start a new run" if self.check is None else "the next check tries again"

    @property
    def finished(self) -> bool:
        """Whether it has completed or failed."""
        return self.complete or self.failed is not None


@dataclass(frozen=True, slots=True)
class Termination:
    """How a stage's container ended."""

    exit_code: int
    reason: str
    """`Completed`, `Error`, `OOMKilled`, ..."""
    message: str
    """What it left in its termination message."""


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of such a Job; the Job itself may be gone."""

    uid: str
    name: str
    job_uid: str | None
    """None for a pod that its Job left behind."""
    owner_uid: str | None
    """Of its run or monitor; None for a pod that an earlier version of the operator made."""
    task: Task
    attempt: int
    index: int
    """Which shard or node."""
    created: datetime
    phase: str
    reason: str = ""
    """Why the pod failed, when it was not its container: `Evicted`, ..."""
    message: str = ""
    disruption: str = ""
    """Reason of its DisruptionTarget condition."""
    deleted: datetime | None = None
    """By when it should have been gone, once it is being deleted."""
    address: str | None = None
    node: str | None = None
    scheduled: datetime | None = None
    unschedulable: tuple[datetime, str] | None = None
    """Since when no node takes it, and the scheduler's words."""
    waiting: tuple[str, str] | None = None
    """Reason and message of a container that does not start."""
    started: datetime | None = None
    ended: Termination | None = None

    @property
    def deleting(self) -> bool:
        """Whether it is being deleted."""
        return self.deleted is not None

    def alive(self, now: datetime) -> bool:
        """Return whether its processes may still run; on a lost node they are taken not to."""
        lost = self.deleted is not None and now - self.deleted > LOST_NODE_GRACE
        return self.phase not in ("Succeeded", "Failed") and not lost


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """A PromotionApproval."""

    uid: str
    run: str
    candidate: str
    decision: str
    approver: str
    created: datetime


def resource_view(body: Document) -> ResourceView:
    """Read a HardeningRun or HardeningMonitor."""
    metadata = body["metadata"]
    kept = {name: metadata[name] for name in KEPT_METADATA if name in metadata}
    document = {name: body[name] for name in ("apiVersion", "kind", "spec", "status") if name in body}
    return ResourceView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        deleting="deletionTimestamp" in metadata,
        document={**document, "metadata": kept},
    )


def job_view(body: Document) -> JobView | None:
    """Read a Job; None when it is no stage of a run and no check."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels = metadata.get("labels") or {}
    checked = check_of(labels)
    named = key_of(labels) if checked is None else (CHECK_KEY, checked[1])
    owner = _controller(metadata, RUN if checked is None else MONITOR)
    if named is None or owner is None:
        return None
    complete, failed = _condition(status, "Complete"), _condition(status, "Failed")
    ended = (complete or failed or {}).get("lastTransitionTime")
    return JobView(
        uid=metadata["uid"],
        name=metadata["name"],
        owner_uid=owner,
        key=named[0],
        attempt=named[1],
        pods=spec.get("completions") or 1,
        created=_required_time(metadata),
        started=_time(status.get("startTime")),
        ended=_time(status.get("completionTime") or ended),
        complete=complete is not None,
        failed=(failed.get("reason", ""), failed.get("message", "")) if failed is not None else None,
        suspended=bool(spec.get("suspend")) or _condition(status, "Suspended") is not None,
        deleting="deletionTimestamp" in metadata,
        check=checked[0] if checked is not None else None,
    )


def pod_view(body: Document) -> PodView | None:
    """Read a Pod; None when it is of no stage and no check."""
    metadata, status = body["metadata"], body.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    named: tuple[Task, int] | None = check_of(labels) or key_of(labels)
    if named is None:
        return None
    state = _container_state(status)
    disrupted = _condition(status, "DisruptionTarget")
    scheduled = _condition(status, "PodScheduled")
    return PodView(
        uid=metadata["uid"],
        name=metadata["name"],
        job_uid=_controller(metadata, "Job"),
        owner_uid=labels.get(OWNER_UID_LABEL),
        task=named[0],
        attempt=named[1],
        index=int(labels.get(INDEX_LABEL) or annotations.get(INDEX_LABEL) or 0),
        created=_required_time(metadata),
        phase=status.get("phase") or "Pending",
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        disruption=(disrupted or {}).get("reason", ""),
        deleted=_time(metadata.get("deletionTimestamp")),
        address=status.get("podIP"),
        node=(body.get("spec") or {}).get("nodeName"),
        scheduled=_time((scheduled or {}).get("lastTransitionTime")),
        unschedulable=_unschedulable(status, _required_time(metadata)),
        waiting=_words(state.get("waiting")),
        started=_time((state.get("running") or state.get("terminated") or {}).get("startedAt")),
        ended=_termination(state.get("terminated")),
    )


def approval_view(body: Document) -> ApprovalView:
    """Read a PromotionApproval."""
    metadata, spec = body["metadata"], body["spec"]
    return ApprovalView(
        uid=metadata["uid"],
        run=spec["run"],
        candidate=spec["candidate"],
        decision=spec.get("decision", "Approved"),
        approver=spec["approver"],
        created=_required_time(metadata),
    )


def owner_of(body: Document) -> Key | None:
    """Return the run or monitor a Job or Pod belongs to, by its label."""
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    for kind, label in ((RUN, RUN_LABEL), (MONITOR, MONITOR_LABEL)):
        if labels.get(label):
            return Key(kind, metadata["namespace"], labels[label])
    return None


def _controller(metadata: Document, kind: str) -> str | None:
    owners = metadata.get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner["kind"] == kind and owner.get("controller")), None)


def _condition(status: Document, kind: str, answer: str = "True") -> dict[str, Any] | None:
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    return next((each for each in conditions if each["type"] == kind and each["status"] == answer), None)


def _container_state(status: Document) -> dict[str, Any]:
    for container in status.get("containerStatuses") or []:
        if container["name"] == CONTAINER:
            state: dict[str, Any] = container.get("state") or {}
            return state
    return {}


def _termination(terminated: Document | None) -> Termination | None:
    if terminated is None:
        return None
    return Termination(terminated["exitCode"], terminated.get("reason") or "", terminated.get("message") or "")


def _words(waiting: Document | None) -> tuple[str, str] | None:
    if waiting is None:
        return None
    return waiting.get("reason") or "", waiting.get("message") or ""


def _unschedulable(status: Document, created: datetime) -> tuple[datetime, str] | None:
    refused = _condition(status, "PodScheduled", "False")
    if refused is None or refused.get("reason") != "Unschedulable":
        return None
    return _time(refused.get("lastTransitionTime")) or created, refused.get("message") or ""


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _required_time(metadata: Document) -> datetime:
    return datetime.fromisoformat(metadata["creationTimestamp"])
