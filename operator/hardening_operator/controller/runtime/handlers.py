"""`python -m hardening_operator`: the operator. It takes its settings from the environment, which the Helm chart sets.

    watch streams (kopf) -> indices, work queue -> reconcilers -> API server

This module binds kopf's decorators to `handlers`; each of them makes one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import kopf

from hardening_api.base import API_VERSION
from hardening_operator.controller.runtime.cache import Cache, Indices
from hardening_operator.controller.runtime.kopf_settings import configure
from hardening_operator.controller.runtime.manager import Manager
from hardening_operator.controller.runtime.queue import MONITOR, RUN, Key
from hardening_operator.controller.runtime.views import (
    ApprovalView,
    JobView,
    PodView,
    ResourceView,
    approval_view,
    job_view,
    owner_of,
    pod_view,
    resource_view,
)
from hardening_operator.resources import MANAGED_BY_LABEL, MANAGER, MONITOR_LABEL

GROUP, VERSION = API_VERSION.split("/")
RUNS, MONITORS = (GROUP, VERSION, "hardeningruns"), (GROUP, VERSION, "hardeningmonitors")
APPROVALS = (GROUP, VERSION, "promotionapprovals")
JOBS, PODS = ("batch", "v1", "jobs"), ("", "v1", "pods")
OURS: dict[str, Any] = {"labels": {MANAGED_BY_LABEL: MANAGER}}
Body = Mapping[str, Any]


def bound_registry(manager: Manager, login: Callable[[], Any]) -> kopf.OperatorRegistry:
    """Return kopf's registry with every handler of the operator."""
    registry = kopf.OperatorRegistry()
    _bind_lifecycle(registry, manager, login)
    _bind_runs(registry, manager)
    _bind_monitors(registry, manager)
    _bind_jobs_and_pods(registry, manager)
    _bind_approvals(registry, manager)
    return registry


def _bind_lifecycle(registry: kopf.OperatorRegistry, manager: Manager, login: Callable[[], Any]) -> None:
    @kopf.on.login(registry=registry)
    async def connect(**_: Any) -> Any:
        return await login()

    @kopf.on.startup(registry=registry)
    async def begin(settings: kopf.OperatorSettings, **indices: Any) -> None:
        configure(settings)
        manager.begin(Cache(Indices(**{field.name: indices[field.name] for field in fields(Indices)})))

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:
        await manager.end()


def _bind_runs(registry: kopf.OperatorRegistry, manager: Manager) -> None:
    @kopf.index(*RUNS, id="runs", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def runs(body: Body, **_: Any) -> Any:
        return index_run(body)

    @kopf.on.event(*RUNS, registry=registry)
    async def run_event(body: Body, **_: Any) -> None:
        handle_run_event(body, manager.cache, manager.wake)


def _bind_monitors(registry: kopf.OperatorRegistry, manager: Manager) -> None:
    @kopf.index(*MONITORS, id="monitors", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def monitors(body: Body, **_: Any) -> Any:
        return index_monitor(body)

    @kopf.index(*MONITORS, id="watchers", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def watchers(body: Body, **_: Any) -> Any:
        return index_watcher(body)

    @kopf.on.event(*MONITORS, registry=registry)
    async def monitor_event(body: Body, **_: Any) -> None:
        handle_monitor_event(body, manager.wake)


def _bind_jobs_and_pods(registry: kopf.OperatorRegistry, manager: Manager) -> None:
    @kopf.index(*JOBS, id="jobs", registry=registry, errors=kopf.ErrorsMode.PERMANENT, **OURS)
    async def jobs(body: Body, **_: Any) -> Any:
        return index_job(body)

    @kopf.on.event(*JOBS, registry=registry, **OURS)
    async def job_event(body: Body, **_: Any) -> None:
        handle_job_event(body, manager.cache, manager.wake)

    @kopf.index(*PODS, id="pods", registry=registry, errors=kopf.ErrorsMode.PERMANENT, **OURS)
    async def pods(body: Body, **_: Any) -> Any:
        return index_pod(body)

    @kopf.on.event(*PODS, registry=registry, **OURS)
    async def pod_event(body: Body, **_: Any) -> None:
        handle_pod_event(body, manager.wake)


def _bind_approvals(registry: kopf.OperatorRegistry, manager: Manager) -> None:
    @kopf.index(*APPROVALS, id="approvals", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def approvals(body: Body, **_: Any) -> Any:
        return index_approval(body)

    @kopf.on.event(*APPROVALS, registry=registry)
    async def approval_event(body: Body, **_: Any) -> None:
        handle_approval_event(body, manager.wake)


def index_run(body: Body) -> dict[Key, ResourceView]:
    """Return a run's view under its own key."""
    return {_run_key(body): resource_view(body)}


def handle_run_event(body: Body, cache: Cache, wake: Callable[[Key], None]) -> None:
    """Have the run looked at, and the monitors that name it or created it."""
    key = _run_key(body)
    creator = (body["metadata"].get("labels") or {}).get(MONITOR_LABEL)
    wake(key)
    for monitor in cache.watchers(key):
        wake(monitor)
    if creator:
        wake(Key(MONITOR, key.namespace, creator))


def _run_key(body: Body) -> Key:
    return Key(RUN, body["metadata"]["namespace"], body["metadata"]["name"])


def index_monitor(body: Body) -> dict[Key, ResourceView]:
    """Return a monitor's view under its own key."""
    return {_monitor_key(body): resource_view(body)}


def index_watcher(body: Body) -> dict[Key, Key]:
    """Return a monitor's key under the run it names."""
    spec = body.get("spec") or {}
    run = (spec.get("evaluation") or {}).get("run") or (spec.get("target") or {}).get("run")
    return {Key(RUN, body["metadata"]["namespace"], run): _monitor_key(body)} if run else {}


def handle_monitor_event(body: Body, wake: Callable[[Key], None]) -> None:
    """Have the monitor looked at."""
    wake(_monitor_key(body))


def _monitor_key(body: Body) -> Key:
    return Key(MONITOR, body["metadata"]["namespace"], body["metadata"]["name"])


def index_job(body: Body) -> dict[Key, JobView]:
    """Return a Job's view under whose it is; nothing for a Job that is no stage and no check."""
    owner, job = owner_of(body), job_view(body)
    return {owner: job} if owner is not None and job is not None else {}


def index_pod(body: Body) -> dict[Key, PodView]:
    """Return a pod's view under whose it is; nothing for a pod of no Job."""
    owner, pod = owner_of(body), pod_view(body)
    return {owner: pod} if owner is not None and pod is not None else {}


def handle_job_event(body: Body, cache: Cache, wake: Callable[[Key], None]) -> None:
    """Have the Job's run or monitor looked at."""
    owner = owner_of(body)
    if owner is not None:
        cache.saw_job(owner, body["metadata"]["uid"])
        wake(owner)


def handle_pod_event(body: Body, wake: Callable[[Key], None]) -> None:
    """Have the pod's run or monitor looked at."""
    owner = owner_of(body)
    if owner is not None:
        wake(owner)


def index_approval(body: Body) -> dict[Key, ApprovalView]:
    """Return an approval's view under the run it names."""
    approval = approval_view(body)
    return {Key(RUN, body["metadata"]["namespace"], approval.run): approval}


def handle_approval_event(body: Body, wake: Callable[[Key], None]) -> None:
    """Have the run it names looked at."""
    wake(Key(RUN, body["metadata"]["namespace"], body["spec"]["run"]))
