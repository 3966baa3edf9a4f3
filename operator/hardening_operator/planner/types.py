"""The inputs and outputs of the planner.

A shell is the Kubernetes handlers or the local runner. It owes the planner three things:

- It stores `Decision.status` before it acts on `start` and `stop`, and hands it back next time.
- `StageStart(key, attempt)` means "this attempt must exist". A start of an attempt that exists, alive or ended,
  does nothing; so the planner may repeat a start until it sees the attempt, and a shell killed between storing and
  starting loses nothing.
- An attempt that has died is observed as Failed (or Stopped), also when it died together with its shell: a child
  that is gone without a result is `Failed` with `Failure(disruption=True)`. An attempt nothing is known of is absent.
- An attempt starts only when nothing of an earlier one works any more: two never write one folder at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from hardening_api.stages import STAGES, StageResult
from hardening_api.status import HardeningRunStatus, StageName

STAGE_ORDER: tuple[StageName, ...] = tuple(STAGES)


def round_name(number: int) -> str:
    """Return `base` or `round 2`."""
    return "base" if number == 0 else f"round {number}"


def round_of(number: int, rounds: int) -> str:
    """Return `base` or `round 2 of 3`."""
    return f"{round_name(number)} of {rounds}" if number else round_name(number)


@dataclass(frozen=True)
class StageKey:
    """One stage of one round; round 0 has only Evaluate."""

    round: int
    stage: StageName

    def __str__(self) -> str:
        return f"{round_name(self.round)} {self.stage}"

    @property
    def order(self) -> tuple[int, int]:
        """Where the stage comes in the run."""
        return self.round, STAGE_ORDER.index(self.stage)


class Why(NamedTuple):
    """Why something is as it is."""

    reason: str
    """CamelCase."""
    message: str


class Pace(NamedTuple):
    """How far a stage is."""

    ratio: float
    """Share done, 0 to 1."""
    eta_seconds: float | None = None
    """Estimated time left, where known."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended without success."""

    exit_code: int | None
    """sysexits code of the worst shard; None when it was killed by a signal or never reported."""
    reason: str
    """CamelCase, from the stage's own result where there is one."""
    message: str
    """What happened and what to do; never prompt or answer text."""
    disruption: bool = False
    """Evicted, preempted, drained, or lost with its shell: not the stage's fault."""
    fatal: bool = False
    """No other attempt could do better: the run fails at once."""


@dataclass(frozen=True)
class StageObservation:
    """The newest attempt of a stage, as the shell sees it."""

    key: StageKey
    state: Literal["Running", "Succeeded", "Failed", "Stopped"]
    attempt: int
    """From 1, the number the planner started it with."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    results: tuple[StageResult, ...] = ()
    """One a shard, in any order."""
    failure: Failure | None = None
    progress: Pace | None = None


@dataclass(frozen=True)
class Wait:
    """Why an attempt that should run does not work yet; it does by itself once that has passed."""

    reason: str
    """CamelCase."""
    message: str
    """What is in the way and what to do; never prompt or answer text."""


@dataclass(frozen=True)
class Approval:
    """A person's decision on one candidate."""

    digest: str
    """Digest of the candidate it speaks of."""
    decision: Literal["Approved", "Rejected"]
    approver: str
    time: datetime


@dataclass(frozen=True)
class Observed:
    """Everything the planner may know of the world."""

    stages: Mapping[StageKey, StageObservation] = field(default_factory=dict)
    approval: Approval | None = None
    generation: int | None = None
    """`metadata.generation` of the spec."""
    waits: Mapping[StageKey, Wait] = field(default_factory=dict)
    """Stages whose current attempt waits for something outside the run."""


@dataclass(frozen=True)
class StageStart:
    """This attempt must exist."""

    key: StageKey
    attempt: int


@dataclass(frozen=True)
class StageStop:
    """The running attempt must save and end."""

    key: StageKey


@dataclass(frozen=True)
class Event:
    """Something that changed, for people."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Decision:
    """What the planner wants: the status to store, then the stages to start and stop."""

    status: HardeningRunStatus
    start: tuple[StageStart, ...] = ()
    stop: tuple[StageStop, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds after which to plan again although nothing has changed: a retry is due then."""
