"""HardeningRuns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hardening_operator.cluster.extracts import ResourceExtract, resource_extract
from hardening_operator.cluster.queue import MONITOR, RUN, Key
from hardening_operator.cluster.world import World
from hardening_operator.resources import MONITOR_LABEL


def index_run(body: Mapping[str, Any]) -> dict[Key, ResourceExtract]:
    """Return a run's extract under its own key."""
    return {_key_of(body): resource_extract(body)}


def handle_run_event(body: Mapping[str, Any], world: World, wake: Callable[[Key], None]) -> None:
    """Have the run looked at, and the monitors that name it or created it."""
    key = _key_of(body)
    creator = (body["metadata"].get("labels") or {}).get(MONITOR_LABEL)
    wake(key)
    for monitor in world.watchers(key):
        wake(monitor)
    if creator:
        wake(Key(MONITOR, key.namespace, creator))


def _key_of(body: Mapping[str, Any]) -> Key:
    return Key(RUN, body["metadata"]["namespace"], body["metadata"]["name"])
