"""HardeningRuns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hardening_operator.cluster.extracts import Address, RunExtract, run_extract
from hardening_operator.cluster.queue import Key
from hardening_operator.cluster.reconcile import KIND


def index_run(body: Mapping[str, Any]) -> dict[Address, RunExtract]:
    """Return a run's extract under its own address."""
    run = run_extract(body)
    return {(run.namespace, run.name): run}


def handle_run_event(body: Mapping[str, Any], wake: Callable[[Key], None]) -> None:
    """Have the run looked at."""
    wake(Key(KIND, body["metadata"]["namespace"], body["metadata"]["name"]))
