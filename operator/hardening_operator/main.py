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
from hardening_operator.cluster.shell import Shell
from hardening_operator.cluster.watching import configure
from hardening_operator.cluster.world import Indices, World
from hardening_operator.handlers.approvals import handle_approval_event, index_approval
from hardening_operator.handlers.children import handle_job_event, handle_pod_event, index_job, index_pod
from hardening_operator.handlers.monitors import handle_monitor_event, index_monitor, index_watcher
from hardening_operator.handlers.runs import handle_run_event, index_run
from hardening_operator.resources import MANAGED_BY_LABEL, MANAGER

GROUP, VERSION = API_VERSION.split("/")
RUNS, MONITORS = (GROUP, VERSION, "hardeningruns"), (GROUP, VERSION, "hardeningmonitors")
APPROVALS = (GROUP, VERSION, "promotionapprovals")
JOBS, PODS = ("batch", "v1", "jobs"), ("", "v1", "pods")
OURS: dict[str, Any] = {"labels": {MANAGED_BY_LABEL: MANAGER}}
Body = Mapping[str, Any]


def bound_registry(shell: Shell, login: Callable[[], Any]) -> kopf.OperatorRegistry:
    """Return kopf's registry with every handler of the operator."""
    registry = kopf.OperatorRegistry()
    _bind_lifecycle(registry, shell, login)
    _bind_runs(registry, shell)
    _bind_monitors(registry, shell)
    _bind_children(registry, shell)
    _bind_approvals(registry, shell)
    return registry


def _bind_lifecycle(registry: kopf.OperatorRegistry, shell: Shell, login: Callable[[], Any]) -> None:
    @kopf.on.login(registry=registry)
    async def connect(**_: Any) -> Any:
        return await login()

    @kopf.on.startup(registry=registry)
    async def begin(settings: kopf.OperatorSettings, **indices: Any) -> None:
        configure(settings)
        shell.begin(World(Indices(**{field.name: indices[field.name] for field in fields(Indices)})))

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:
        await shell.end()


def _bind_runs(registry: kopf.OperatorRegistry, shell: Shell) -> None:
    @kopf.index(*RUNS, id="runs", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def runs(body: Body, **_: Any) -> Any:
        return index_run(body)

    @kopf.on.event(*RUNS, registry=registry)
    async def run_event(body: Body, **_: Any) -> None:
        handle_run_event(body, shell.world, shell.wake)


def _bind_monitors(registry: kopf.OperatorRegistry, shell: Shell) -> None:
    @kopf.index(*MONITORS, id="monitors", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def monitors(body: Body, **_: Any) -> Any:
        return index_monitor(body)

    @kopf.index(*MONITORS, id="watchers", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def watchers(body: Body, **_: Any) -> Any:
        return index_watcher(body)

    @kopf.on.event(*MONITORS, registry=registry)
    async def monitor_event(body: Body, **_: Any) -> None:
        handle_monitor_event(body, shell.wake)


def _bind_children(registry: kopf.OperatorRegistry, shell: Shell) -> None:
    @kopf.index(*JOBS, id="jobs", registry=registry, errors=kopf.ErrorsMode.PERMANENT, **OURS)
    async def jobs(body: Body, **_: Any) -> Any:
        return index_job(body)

    @kopf.on.event(*JOBS, registry=registry, **OURS)
    async def job_event(body: Body, **_: Any) -> None:
        handle_job_event(body, shell.world, shell.wake)

    @kopf.index(*PODS, id="pods", registry=registry, errors=kopf.ErrorsMode.PERMANENT, **OURS)
    async def pods(body: Body, **_: Any) -> Any:
        return index_pod(body)

    @kopf.on.event(*PODS, registry=registry, **OURS)
    async def pod_event(body: Body, **_: Any) -> None:
        handle_pod_event(body, shell.wake)


def _bind_approvals(registry: kopf.OperatorRegistry, shell: Shell) -> None:
    @kopf.index(*APPROVALS, id="approvals", registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def approvals(body: Body, **_: Any) -> Any:
        return index_approval(body)

    @kopf.on.event(*APPROVALS, registry=registry)
    async def approval_event(body: Body, **_: Any) -> None:
        handle_approval_event(body, shell.wake)
