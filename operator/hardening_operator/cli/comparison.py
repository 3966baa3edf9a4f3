"""Two runs compared: pure functions over specs and statuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hardening_api.status import EvaluationFigures, HardeningRunStatus, Rate, RoundStatus

MEASURES = {
    "harm_rate": "harm rate",
    "attack_success_rate": "attack success rate",
    "win_rate": "win rate",
    "over_refusal": "over-refusal",
}


@dataclass(frozen=True)
class Comparison:
    """One figure of two runs; a rate is None where a run does not have it."""

    measure: str
    set: str
    judge: str
    rates: tuple[Rate | None, Rate | None]

    @property
    def beyond(self) -> bool | None:
        """Whether the difference is beyond its 95 % interval; None when a run lacks the figure."""
        one, other = self.rates
        if one is None or other is None:
            return None
        lower, upper = difference_interval(one, other)
        return lower > 0 or upper < 0


def difference_interval(one: Rate, other: Rate) -> tuple[float, float]:
    """Return the 95 % interval of ``other`` minus ``one``, two independent proportions.

    Source: Newcombe (1998), method 10: from each proportion's own score interval, which here is cluster-robust already.
    """
    change = other.value - one.value
    down = math.hypot(other.value - other.lower, one.upper - one.value)
    up = math.hypot(other.upper - other.value, one.value - one.lower)
    return change - down, change + up


def comparisons(one: HardeningRunStatus, other: HardeningRunStatus) -> Iterator[Comparison]:
    """Yield every figure that either run has, by evaluation set and judge; figures of two judges are never compared."""
    sides = (_figures(one), _figures(other))
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        for field, measure in MEASURES.items():
            before, after = (getattr(side[key], field) if key in side else None for side in sides)
            if before is not None or after is not None:
                yield Comparison(measure, key[0], key[1], (before, after))


def measured_round(status: HardeningRunStatus) -> int | None:
    """Return the round whose figures stand for the run: the promoted one, or the last that was evaluated."""
    entry = _measured(status)
    return None if entry is None else entry.round


def _measured(status: HardeningRunStatus) -> RoundStatus | None:
    wanted = status.promoted.round if status.promoted is not None else None
    done = [entry for entry in status.rounds if entry.evaluations and wanted in (None, entry.round)]
    return done[-1] if done else None


def _figures(status: HardeningRunStatus) -> dict[tuple[str, str], EvaluationFigures]:
    entry = _measured(status)
    return {(figures.set, figures.judge): figures for figures in entry.evaluations} if entry else {}


def spec_differences(one: Any, other: Any, path: str = "spec") -> Iterator[tuple[str, Any, Any]]:
    """Yield path, value and other value of every field that differs; None stands for an absent one."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys([*one, *other]):
            yield from spec_differences(one.get(name), other.get(name), f"{path}.{name}")
    elif isinstance(one, list) and isinstance(other, list):
        for index in range(max(len(one), len(other))):
            before, after = (values[index] if index < len(values) else None for values in (one, other))
            yield from spec_differences(before, after, f"{path}[{index}]")
    elif one != other:
        yield path, one, other
