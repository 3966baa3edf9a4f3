"""What a run says of its stages' pods: `stages.all`, and over it the stage's own. A monitor's `pod` goes over both."""

from __future__ import annotations

from typing import Any

from hardening_api.pods import PodOverrides, Resources, Stages
from hardening_api.status import StageName

FIELDS: dict[StageName, str] = {
    "Attack": "attack",
    "Score": "score",
    "TrainAttacker": "train_attacker",
    "TrainDefender": "train_defender",
    "Evaluate": "evaluate",
    "Promote": "promote",
}


def overrides_of(stages: Stages, stage: StageName) -> PodOverrides:
    """Return the overrides of one stage, field by field: maps are merged, of lists and texts its own win."""
    return merged_overrides(stages.all, getattr(stages, FIELDS[stage]))


def merged_overrides(common: PodOverrides, own: PodOverrides) -> PodOverrides:
    """Return ``common`` and over it ``own``: maps are merged, of lists and texts its own win."""
    merged = {name: _merged(value, getattr(own, name)) for name, value in common}
    return common.model_copy(update=merged)


def _merged(common: Any, own: Any) -> Any:
    if isinstance(common, Resources) and isinstance(own, Resources):
        return Resources(limits=common.limits | own.limits, requests=common.requests | own.requests)
    if isinstance(common, dict) and isinstance(own, dict):
        return common | own
    return own if own or common is None else common
