"""The operator's process: from the environment to a watch that ends when it is asked to."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from importlib.metadata import version

import kopf
from kubernetes.aio.client import ApiClient
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

from hardening_api.base import API_VERSION
from hardening_api.stages import ExitCode
from hardening_operator.controller.runtime.api import Api, ApiError, KubernetesApi
from hardening_operator.controller.runtime.connect import NoClusterError, api_client, connection
from hardening_operator.controller.runtime.handlers import bound_registry
from hardening_operator.controller.runtime.health import Health, serve_health
from hardening_operator.controller.runtime.leader_election import LeaderElection, LostLeadershipError, lead
from hardening_operator.controller.runtime.manager import Manager
from hardening_operator.metrics.exporter import ExpositionError, StatusCollector, serve
from hardening_operator.metrics.instruments import Instruments
from hardening_operator.settings import OperatorSettings, SettingsError

log = logging.getLogger(__name__)
NEEDED = {"hardeningruns", "hardeningmonitors", "promotionapprovals"}
LOOK_AGAIN_SECONDS = 5.0
FAILED = 1
SETTINGS = fields(OperatorSettings)


def main(arguments: Sequence[str]) -> int:
    """Run the operator and return its exit code: 0 when asked to end, 1 when it lost its Lease, 64 for bad settings."""
    _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        settings = OperatorSettings.from_environ(os.environ)
        asyncio.run(run_process(settings, os.environ))
    except (SettingsError, NoClusterError, ExpositionError) as error:
        log.error("%s", error)
        return ExitCode.USAGE
    except LostLeadershipError as error:
        log.error("%s", error)
        return FAILED
    return 0


async def run_process(settings: OperatorSettings, environ: Mapping[str, str]) -> None:
    """Work, or stand by, until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    _end_on_signals(stop)
    async with AsyncExitStack() as stack:
        client = await api_client(environ)
        stack.push_async_callback(client.close)
        health, registry = Health(), CollectorRegistry()
        instruments = Instruments(registry, version("hardening-operator"))
        manager = Manager(settings, KubernetesApi(client), lambda: datetime.now(UTC), instruments, health)
        registry.register(StatusCollector(manager.run_facts, manager.monitor_facts))
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            registry.register(collector)
        serve(registry, settings.metrics_port)
        runner = await serve_health(health, settings.health_port)
        stack.push_async_callback(runner.cleanup)
        await _lead_or_stand_by(settings, client, manager, stop)


async def _lead_or_stand_by(
    settings: OperatorSettings, client: ApiClient, manager: Manager, stop: asyncio.Event
) -> None:
    if not settings.leader_election:
        return await operate(manager, client, stop)
    manager.health.role = "standby"
    lease = (settings.operator_namespace, settings.lease_name)
    elector = LeaderElection(manager.api, lease, settings.pod_name, manager.clock, time.monotonic)
    leading = asyncio.create_task(lead(elector, lambda: operate(manager, client, stop), time.monotonic))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((leading, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if manager.health.role == "standby" and not leading.done():
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        return None
    return await leading


async def operate(manager: Manager, client: ApiClient, stop: asyncio.Event) -> None:
    """Watch and work until ``stop`` is set; a watch that breaks is reopened."""
    manager.instruments.observe_leadership(True)
    manager.health.role = "starting"
    while not stop.is_set():
        try:
            await wait_for_kinds(manager.api, stop)
            await watch(manager, client, stop)
        except Exception as error:
            log.exception("the watch broke: reopened in %.0f s", LOOK_AGAIN_SECONDS, exc_info=error)
            await _pause(stop)
    manager.health.role = "stopping"


async def watch(manager: Manager, client: ApiClient, stop: asyncio.Event) -> None:
    """Run kopf once, until ``stop`` is set or one of its streams breaks for good."""
    if stop.is_set():
        return
    registry = bound_registry(manager, lambda: connection(client.configuration))
    others = asyncio.all_tasks()
    namespaces = manager.settings.namespaces
    tasks = await kopf.spawn_tasks(
        registry=registry, clusterwide=not namespaces, namespaces=namespaces, stop_flag=stop, ready_flag=asyncio.Event()
    )
    # kopf has put its own handlers in the place of ours.
    _end_on_signals(stop)
    await kopf.run_tasks(tasks, ignored=others)


async def wait_for_kinds(api: Api, stop: asyncio.Event) -> None:
    """Return when the API server has our resources: the operator may be there before them."""
    while not stop.is_set():
        try:
            missing = NEEDED - await api.served(API_VERSION)
        except ApiError as error:
            log.warning("%s", error)
        else:
            if not missing:
                return
            log.warning("no %s in the cluster yet: are the CustomResourceDefinitions installed?", ", ".join(missing))
        await _pause(stop)


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), LOOK_AGAIN_SECONDS)
    except TimeoutError:
        return


def _end_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _parser() -> argparse.ArgumentParser:
    variables = "\n".join(f"  HARDENING_{field.name.upper():<27} {_default(field.default)}" for field in SETTINGS)
    return argparse.ArgumentParser(
        prog="python -m hardening_operator",
        description="The operator: it works in the cluster around it, or in the one that KUBECONFIG names.",
        epilog=f"Settings, from the environment:\n{variables}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _default(value: object) -> str:
    if value is MISSING:
        return "required"
    if isinstance(value, tuple):
        return "comma-separated; default none"
    return f"default {str(value).lower() if isinstance(value, bool) else value or 'empty'}"
