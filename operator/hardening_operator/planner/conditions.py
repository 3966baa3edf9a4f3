"""Kubernetes conditions: the answers to a few questions about a run or a monitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeVar

from hardening_api.status import Condition

MESSAGE_LIMIT = 1024


Kind = TypeVar("Kind", bound=Condition)
Type = TypeVar("Type", bound=str)


class Answer(NamedTuple):
    """What a condition says."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    """CamelCase word."""
    message: str


def timestamp(time: datetime) -> str:
    """Return an aware ``time`` as RFC 3339 in UTC, to the second, as Kubernetes writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shortened(text: str) -> str:
    """Return ``text`` cut to what a message field holds."""
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 3] + "..."


def updated_conditions(
    kind: type[Kind], before: Sequence[Kind], answers: Mapping[Type, Answer], now: datetime, generation: int | None
) -> list[Kind]:
    """Return the conditions of ``answers``; `lastTransitionTime` moves only when a status changes."""
    known = {condition.type: condition for condition in before}
    return [
        kind.model_validate(
            {
                "type": name,
                "status": answer.status,
                "reason": answer.reason,
                "message": shortened(answer.message),
                "last_transition_time": _since(known.get(name), answer, now),
                "observed_generation": generation,
            }
        )
        for name, answer in answers.items()
    ]


def refused_conditions(
    kind: type[Kind], before: Sequence[Kind], question: str, message: str, now: datetime, generation: int | None
) -> list[Kind]:
    """Return the conditions of an object whose spec cannot be used: ``question`` is False, all else is as it was."""
    answer = {question: Answer("False", "SpecInvalid", message)}
    others = [condition for condition in before if condition.type != question]
    return [*updated_conditions(kind, before, answer, now, generation), *others]


def _since(old: Condition | None, answer: Answer, now: datetime) -> str:
    return old.last_transition_time if old is not None and old.status == answer.status else timestamp(now)
