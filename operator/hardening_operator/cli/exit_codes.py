"""Exit codes of the program, the same for a script and for a person."""

from __future__ import annotations

from hardening_api.status import HardeningRunStatus, Phase

PROMOTED = 0
FAILED = 1
USAGE = 2
NOT_PROMOTED = 3
AWAITING_APPROVAL = 4
SUSPENDED = 5
TIMED_OUT = 124
INTERRUPTED = 130

_BY_PHASE: dict[Phase, int] = {
    "Promoted": PROMOTED,
    "NotPromoted": NOT_PROMOTED,
    "AwaitingApproval": AWAITING_APPROVAL,
    "Suspended": SUSPENDED,
    "Failed": FAILED,
}


def exit_code(status: HardeningRunStatus) -> int:
    """Return the exit code of a run that rests."""
    return _BY_PHASE.get(status.phase, FAILED)
