"""The inputs and outputs of the monitor's planner.

A shell owes it what it owes the planner of runs (see `hardening_operator.planner.types`): the status is stored before
anything is started or stopped, `CheckStart` and `RerunStart` mean "this must exist", and a check that died is Failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from hardening_api.monitor import ActiveCheck, HardeningMonitorStatus, RerunRecord
from hardening_api.run import HardeningRun
from hardening_api.stages import StageResult
from hardening_operator.planner.types import Event, Failure, Wait


@dataclass(frozen=True)
class CheckObservation:
    """The newest attempt of a check, as the shell sees it."""

    name: str
    state: Literal["Running", "Succeeded", "Failed"]
    attempt: int = 1
    ended_at: datetime | None = None
    results: tuple[StageResult, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True)
class MonitorObserved:
    """Everything the monitor's planner may know of the world."""

    checks: Mapping[str, CheckObservation] = field(default_factory=dict)
    """Checks of this monitor that exist, by name."""
    runs: Mapping[str, HardeningRun] = field(default_factory=dict)
    """By name, with their status: the run the monitor names, and the reruns it created, where they exist."""
    asked_at: datetime | None = None
    """When somebody asked for a check apart from the schedule."""
    generation: int | None = None
    """`metadata.generation` of the spec."""
    wait: Wait | None = None
    """Why the running check's attempt does not work yet."""


@dataclass(frozen=True)
class CheckStart:
    """This attempt of a check must exist."""

    check: ActiveCheck
    run: HardeningRun | None
    """The run it takes its data, attacker and recorded answers from."""


@dataclass(frozen=True)
class RerunStart:
    """This HardeningRun must exist."""

    rerun: RerunRecord
    source: HardeningRun
    """The run whose promoted checkpoint it starts from."""
    attacks: int
    """Successful attacks its check left to train on."""


@dataclass(frozen=True)
class MonitorDecision:
    """What the planner wants: the status to store, then what to start or to stop, never both."""

    status: HardeningMonitorStatus
    start: CheckStart | None = None
    stop: tuple[str, ...] = ()
    """Names of checks that run and must end."""
    rerun: RerunStart | None = None
    events: tuple[Event, ...] = ()
    wake_at: datetime | None = None
    """When to plan again at the latest, if nothing changes before."""
