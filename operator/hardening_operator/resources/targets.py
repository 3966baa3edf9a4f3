"""Promotion targets that this version writes, told before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from hardening_api.run import HardeningRunSpec


def unsupported_targets(spec: HardeningRunSpec) -> Iterator[str]:
    """Yield one line, `spec.path: got VALUE: expected ...`, for each target that no stage can write to."""
    for index, target in enumerate(spec.promotion.targets):
        if target.type == "MLflow":
            place = f"spec.promotion.targets[{index}].type"
            yield f"{place}: got MLflow: expected Workspace or S3, which this version writes"
