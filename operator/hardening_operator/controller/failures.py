"""Why an attempt failed, or never will begin, in words that say what to do.

infrastructure   ImagePullFailed, Unschedulable, PodsNotCreated, PodNotStarted, OutOfMemory, PodLost, WorkspaceFull
application      what the stage says of itself (BadData, ...), StageFailed, DeadlineExceeded
judge            JudgeUnavailable, as the stage says
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hardening_api.stages import FINAL_EXITS, ExitCode, StageResult
from hardening_operator.controller.runtime.views import JobView, PodView, Termination
from hardening_operator.planner.types import Failure, Wait
from hardening_operator.settings import OperatorSettings

KILLED = (137, 143)
"""Exit codes after SIGKILL and SIGTERM."""
BAD_NAME = "InvalidImageName"
PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable", BAD_NAME})
START_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a container whose process was never started; its message is the container runtime's."""
EVICTIONS = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting"})
NO_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" (?:not found|is being deleted)')
"""The scheduler's words for a claim that is not there, or no longer."""
WORDS_LIMIT = 500
NO_POD_SECONDS = 8.0
"""A Job without a pod for so long is told in the status."""
SLOW_START_SECONDS = 300.0
"""A container that takes longer to be created, its image's pull included, is told in the status."""


def result_of(pod: PodView) -> StageResult | None:
    """Return what a pod's stage reported; None when it did not, or not yet."""
    if pod.ended is None or not pod.ended.message:
        return None
    try:
        return StageResult.from_message(pod.ended.message)
    except ValueError:
        return None


def newest_by_index(pods: Iterable[PodView]) -> dict[int, PodView]:
    """Return the newest pod of each shard or node; a pod that was lost is followed by another with its index."""
    newest: dict[int, PodView] = {}
    for pod in sorted(pods, key=lambda pod: (pod.created, pod.uid)):
        newest[pod.index] = pod
    return newest


def failure_of_job(job: JobView, pods: Iterable[PodView]) -> Failure | None:
    """Return why a failed Job failed, as its worst pod tells; None when no pod does."""
    reason, message = job.failed or ("", "")
    if reason == "DeadlineExceeded":
        return Failure(None, reason, f"Job {job.name} took longer than activeDeadlineSeconds: {message}")
    # A pod that was evicted, or saved and left, does not fail a Job: another one did.
    blamed = [pod for pod in pods if pod.phase == "Failed" and not pod.disruption and not _saved_and_left(pod)]
    return _failure_of_pod(job, min(blamed, key=_severity)) if blamed else None


def lost(job: JobView) -> Failure:
    """Return the failure of a Job whose pods are all gone, so that none says why."""
    text = (
        f"Job {job.name} failed ({(job.failed or ('',))[0]}) and its pods are gone: "
        f"`kubectl describe job {job.name}` shows what is known"
    )
    return Failure(None, "PodLost", text)


def result_lost(job: JobView) -> Failure:
    """Return the failure of a Job that completed, but whose pods went before their results were read."""
    text = f"Job {job.name} completed, but its results went with its pods: the next attempt finds its work and reports"
    return Failure(None, "ResultLost", text, disruption=True)


def job_deleted(stage: str) -> Failure:
    """Return the failure of an attempt whose Job somebody deleted before it had ended."""
    text = f"the Job of {stage} was deleted while it ran: the next attempt starts once its pods have ended"
    return Failure(None, "JobDeleted", text, disruption=True)


def dead_end(job: JobView, pods: Sequence[PodView], now: datetime, settings: OperatorSettings) -> Failure | None:
    """Return why an unfinished Job will not finish by itself, or None while it still may."""
    full = next((result for pod in pods if (result := result_of(pod)) and result.reason == "WorkspaceFull"), None)
    if full is not None:
        return Failure(ExitCode.TEMPORARY, "WorkspaceFull", full.message or "the workspace is full: make room")
    for trouble in _troubles(job, pods, settings):
        waited = now - trouble.since
        if waited > timedelta(seconds=trouble.limit):
            text = f"{trouble.what} after {waited.total_seconds():.0f} s{trouble.words}"
            return Failure(None, trouble.reason, f"{text}, then {job.next_try}", fatal=True)
    return None


def waits_for(job: JobView, pods: Sequence[PodView], now: datetime, settings: OperatorSettings) -> Wait | None:
    """Return what an unfinished Job waits for before its pods can work: told long before `dead_end` gives it up."""
    for trouble in _troubles(job, pods, settings):
        if now - trouble.since >= timedelta(seconds=trouble.told_after):
            return Wait(trouble.reason, f"{trouble.what} yet{trouble.words}")
    return None


def next_trouble(job: JobView, pods: Sequence[PodView], now: datetime, settings: OperatorSettings) -> float | None:
    """Return the seconds until `waits_for` has something to say that no event brings; None when it has no such."""
    waits = [trouble.told_after - (now - trouble.since).total_seconds() for trouble in _troubles(job, pods, settings)]
    return min((wait for wait in waits if 0 < wait <= NO_POD_SECONDS), default=None)


@dataclass(frozen=True)
class _Trouble:
    """Something outside the stage that keeps its pods from working."""

    reason: str
    what: str
    """The first words of a message: the time follows."""
    words: str
    """The rest of it: why, and what to do."""
    since: datetime
    limit: float
    """Seconds after which the Job is given up."""
    told_after: float = 0.0
    """Seconds after which the status says so."""


def _troubles(job: JobView, pods: Sequence[PodView], settings: OperatorSettings) -> Iterator[_Trouble]:
    if job.suspended or job.finished or job.deleting:
        return
    if not pods:
        yield _no_pods(job, settings)
    waiting = [pod for pod in newest_by_index(pods).values() if pod.phase == "Pending" and not pod.deleting]
    for find in (_unschedulable, _not_pulled, _not_started):
        for pod in waiting:
            trouble = find(job, pod, settings)
            if trouble is not None:
                yield trouble


def _no_pods(job: JobView, settings: OperatorSettings) -> _Trouble:
    words = (
        f": `kubectl describe job {job.name}` shows what refuses them: a ResourceQuota, Pod Security or an admission "
        "webhook; allow them"
    )
    since, limit = job.started or job.created, settings.scheduling_deadline_seconds
    return _Trouble("PodsNotCreated", f"Job {job.name} has no pod", words, since, limit, NO_POD_SECONDS)


def _unschedulable(job: JobView, pod: PodView, settings: OperatorSettings) -> _Trouble | None:
    if pod.unschedulable is None:
        return None
    since, why = pod.unschedulable
    limit = settings.scheduling_deadline_seconds
    claim = NO_CLAIM.search(why)
    if claim is not None:
        words = f": claim {claim[1]} does not exist or is being deleted: restore it from a backup under that name"
        return _Trouble("WorkspaceLost", f"pod {pod.name} has no volume to work on", words, since, limit)
    fields = f"{job.overrides_field} (resources, nodeSelector, tolerations)"
    words = f": {_cut(why)}: free or add such a node, or change {fields}"
    return _Trouble("Unschedulable", f"no node took pod {pod.name}", words, since, limit)


def _not_pulled(job: JobView, pod: PodView, settings: OperatorSettings) -> _Trouble | None:
    reason, why = pod.waiting or ("", "")
    if reason not in PULL_REASONS:
        return None
    words = (
        f" ({reason}): {_cut(why)}: correct {job.overrides_field} (image) or the operator's trainer image, push it, or "
        "add imagePullSecrets"
    )
    since, limit = pod.scheduled or pod.created, settings.image_deadline_seconds if reason != BAD_NAME else -1
    return _Trouble("ImagePullFailed", f"the image of pod {pod.name} could not be pulled", words, since, limit)


def _not_started(_job: JobView, pod: PodView, settings: OperatorSettings) -> _Trouble | None:
    reason, why = pod.waiting or ("ContainerCreating", "")
    if pod.scheduled is None or pod.node is None or pod.started is not None or reason in PULL_REASONS:
        return None
    words = (
        f" ({reason}): {_cut(why)}: `kubectl describe pod {pod.name}` shows why, such as a Secret, ConfigMap or volume "
        "that is missing; create it"
    )
    refused = reason in START_REASONS
    limit = settings.image_deadline_seconds if refused else settings.scheduling_deadline_seconds
    what = f"pod {pod.name} was given to node {pod.node} but did not start"
    return _Trouble("PodNotStarted", what, words, pod.scheduled, limit, 0.0 if refused else SLOW_START_SECONDS)


def _failure_of_pod(job: JobView, pod: PodView) -> Failure:
    if pod.ended is None:
        text = f"pod {pod.name} failed ({pod.reason or 'no reason'}): {_cut(pod.message)}: look at its node {pod.node}"
        return Failure(None, "PodLost", text, disruption=pod.reason in EVICTIONS)
    result = result_of(pod)
    if result is not None and result.outcome != "Succeeded":
        message = result.message or f"the stage gave no message: `kubectl logs {pod.name}`"
        return Failure(pod.ended.exit_code, result.reason or "StageFailed", message)
    return _silent_failure(job, pod, pod.ended)


def _silent_failure(job: JobView, pod: PodView, ended: Termination) -> Failure:
    """Describe a container that ended without a result."""
    code = ended.exit_code
    if ended.reason == "OOMKilled":
        text = (
            f"pod {pod.name} was killed at its memory limit: raise resources.limits.memory of {job.key.stage} in "
            f"{job.overrides_field}, or use smaller batches"
        )
        return Failure(code, "OutOfMemory", text)
    if pod.deleting and code in KILLED:
        return Failure(code, "PodLost", f"pod {pod.name} was deleted and killed before it had saved", disruption=True)
    if ended.reason in NEVER_RAN:
        text = f"the container of pod {pod.name} could not be started: {_cut(ended.message)}: is it a trainer image?"
        return Failure(code, "StageFailed", text)
    if ended.reason == "ContainerStatusUnknown":
        return Failure(code, "PodLost", f"pod {pod.name} was lost with its node {pod.node}", disruption=True)
    text = f"pod {pod.name} ended with code {code} and no result: `kubectl logs {pod.name}` shows why"
    return Failure(code, "StageFailed", text)


def _saved_and_left(pod: PodView) -> bool:
    return pod.ended is not None and pod.ended.exit_code == ExitCode.TEMPORARY


def _severity(pod: PodView) -> tuple[bool, bool, bool, int]:
    """Order pods by how much they tell: what no retry helps first, then those with a result, in order of index."""
    fatal = pod.ended is not None and pod.ended.exit_code in FINAL_EXITS
    return not fatal, pod.deleting, result_of(pod) is None, pod.index


def _cut(words: str) -> str:
    text = " ".join(words.split())
    return text if len(text) <= WORDS_LIMIT else text[: WORDS_LIMIT - 3] + "..."
