"""HardeningMonitors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hardening_operator.cluster.extracts import ResourceExtract, resource_extract
from hardening_operator.cluster.queue import MONITOR, RUN, Key


def index_monitor(body: Mapping[str, Any]) -> dict[Key, ResourceExtract]:
    """Return a monitor's extract under its own key."""
    return {_key_of(body): resource_extract(body)}


def index_watcher(body: Mapping[str, Any]) -> dict[Key, Key]:
    """Return a monitor's key under the run it names."""
    spec = body.get("spec") or {}
    run = (spec.get("evaluation") or {}).get("run") or (spec.get("target") or {}).get("run")
    return {Key(RUN, body["metadata"]["namespace"], run): _key_of(body)} if run else {}


def handle_monitor_event(body: Mapping[str, Any], wake: Callable[[Key], None]) -> None:
    """Have the monitor looked at."""
    wake(_key_of(body))


def _key_of(body: Mapping[str, Any]) -> Key:
    return Key(MONITOR, body["metadata"]["namespace"], body["metadata"]["name"])
