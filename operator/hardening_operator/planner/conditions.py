"""Kubernetes conditions: the answers to six questions about a run, of which `phase` is the summary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from hardening_api.status import Condition

ConditionType = Literal["Accepted", "Progressing", "GatePassed", "Promoted", "Failed", "Suspended"]
Answer = Literal["True", "False", "Unknown"]
Answers = dict[ConditionType, tuple[Answer, str, str]]
"""Status, reason and message of each condition."""
MESSAGE_LIMIT = 1024


def timestamp(time: datetime) -> str:
    """Return an aware ``time`` as RFC 3339 in UTC, to the second, as Kubernetes writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shortened(text: str) -> str:
    """Return ``text`` cut to what a message field holds."""
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 3] + "..."


def updated_conditions(
    before: Sequence[Condition], answers: Answers, now: datetime, generation: int | None
) -> list[Condition]:
    """Return the conditions of ``answers``; `lastTransitionTime` moves only when a status changes."""
    known = {condition.type: condition for condition in before}
    conditions = []
    for kind, (answer, reason, message) in answers.items():
        old = known.get(kind)
        since = old.last_transition_time if old is not None and old.status == answer else timestamp(now)
        conditions.append(
            Condition(
                type=kind,
                status=answer,
                reason=reason,
                message=shortened(message),
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return conditions
