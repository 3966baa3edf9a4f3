"""The option --timeout: a time as kubectl writes it."""

from __future__ import annotations

import re
from typing import Annotated

import typer

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Read a time as kubectl writes it: 90, 90s, 10m, 1h30m."""
    if not re.fullmatch(r"\d+|(\d+h)?(\d+m)?(\d+s)?", text) or not text:
        raise typer.BadParameter(f"got {text}: expected a time such as 90s, 10m or 1h30m")
    return float(sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([hms]?)", text)))


Timeout = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="TIME", help="Exit with 124 after this time: 90s, 10m, 1h30m."),
]
