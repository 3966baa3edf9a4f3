"""Two runs compared: pure functions over specs and statuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hardening_api.stats import newcombe
from hardening_api.status import EvaluationFigures, HardeningRunStatus, Rate

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
        difference = newcombe(other, one)
        return difference.lower > 0 or difference.upper < 0


def comparisons(one: HardeningRunStatus, other: HardeningRunStatus) -> Iterator[Comparison]:
    """Yield every figure that either run has, by evaluation set and judge; figures of two judges are never compared."""
    sides = (_figures(one), _figures(other))
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        for field, measure in MEASURES.items():
            before, after = (getattr(side[key], field) if key in side else None for side in sides)
            if before is not None or after is not None:
                yield Comparison(measure, key[0], key[1], (before, after))


def _figures(status: HardeningRunStatus) -> dict[tuple[str, str], EvaluationFigures]:
    entry = status.headline_round
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
