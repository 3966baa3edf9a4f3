"""Two defenders brought to the same over-refusal: the one that refuses more is weakened until it no longer does.

    weights(strength) = base + strength * (trained - base)      strength 1 is the defender, 0 the base

A defender that refuses more will do less harm; only at equal over-refusal do their harm rates say which is the better
one. Weights between a model and its own fine-tuning trade one for the other smoothly (arXiv 2109.01903).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hardening_trainer.models import ResolvedModel
from hardening_trainer.models.interpolation import save_interpolated

STEP = 0.05
LEAST = 0.2
"""Below this strength a defender is next to the base: there is nothing to compare."""

Refusals = Callable[[ResolvedModel], int]
"""How many of the benign prompts a defender refuses."""
Weakened = Callable[[float], ResolvedModel]
"""A defender at a strength below 1."""


def at_strength(base: Path, trained: Path, strength: float, output: Path) -> Path:
    """Save the weights that lie at `strength` on the line from `base` (0) to `trained` (1), unless they are there."""
    if not (output / "model.safetensors").exists():
        save_interpolated(base, trained, strength, output)
    return output


def matched(
    defenders: Mapping[str, ResolvedModel], refusals: Refusals, weakened: Mapping[str, Weakened]
) -> dict[str, tuple[float, ResolvedModel]]:
    """Strength and weights of every defender at the over-refusal of the one that refuses least.

    Strengths are tried downwards in steps of 0.05 until one refuses at most as often; of it and the one before, the
    nearer is taken, and the stronger of two equally near.
    """
    counts = {name: refusals(model) for name, model in defenders.items()}
    target = min(counts.values())
    found = {}
    for name, model in defenders.items():
        nearest, distance, strength = (1.0, model), counts[name] - target, 1.0
        while strength > LEAST and distance > 0:
            strength = round(strength - STEP, 2)
            weaker = weakened[name](strength)
            count = refusals(weaker)
            if abs(count - target) < distance:
                nearest, distance = (strength, weaker), abs(count - target)
            if count <= target:
                break
        found[name] = nearest
    return found
