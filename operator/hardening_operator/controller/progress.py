"""How far running stages are: from the pods' `/metrics` into `status.progress`, in few steps."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hardening_api.status import Progress

STEP = 0.25
"""The least move of a ratio that is worth an API write."""
SAMPLE = re.compile(r"^hardening_stage_(?P<name>progress_ratio|eta_seconds)(?:\{[^}]*\})? (?P<value>\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """What a pod says of itself."""

    ratio: float
    """Share done, 0 to 1."""
    eta_seconds: float | None = None
    """Seconds left, where the pod can tell."""


def read_metrics(text: str) -> Measured | None:
    """Read the progress of a stage from its pod's metrics; None when they do not tell it yet."""
    values: dict[str, float] = {}
    for sample in SAMPLE.finditer(text):
        try:
            values[sample["name"]] = float(sample["value"])
        except ValueError:
            continue
    ratio, eta = values.get("progress_ratio", math.nan), values.get("eta_seconds", math.nan)
    if not math.isfinite(ratio):
        return None
    return Measured(min(1.0, max(0.0, ratio)), eta if math.isfinite(eta) and eta >= 0 else None)


def published(measured: Measured | None, told: Progress | None) -> tuple[float, float | None] | None:
    """Return what the status should say: what it says now, until the ratio has moved by a quarter.

    All of it is not told: the stage ends then, and that is written anyway. So a stage costs three writes of progress.
    """
    before = told.ratio if told is not None else 0.0
    if measured is not None and measured.ratio < 1.0 and abs(measured.ratio - before) >= STEP:
        return measured.ratio, measured.eta_seconds
    return (told.ratio, told.eta_seconds) if told is not None else None
