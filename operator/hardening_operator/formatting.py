"""Figures as text, for the terminal and the report."""

from __future__ import annotations

from hardening_api.status import Rate


def rate_text(rate: Rate | None, wide: bool = True) -> str:
    """Return `0.21 [0.14, 0.31]`; unless ``wide``, on two lines with a shorter interval; or a dash."""
    if rate is None:
        return "-"
    if wide:
        return f"{rate.value:.2f} [{rate.lower:.2f}, {rate.upper:.2f}]"
    return f"{rate.value:.2f}\n{rate.lower:.2f}-{rate.upper:.2f}"


def duration(seconds: float) -> str:
    """Return `1 h 05 min`, `3 min 20 s` or `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
