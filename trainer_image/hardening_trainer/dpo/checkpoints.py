"""Checkpoints to resume from: one counts only when it is marked complete, the last complete one is never removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MARK = "complete"


def last_complete(root: Path) -> Path | None:
    """The newest complete checkpoint under `root`, or None."""
    complete = [folder for folder in _checkpoints(root) if (folder / _MARK).is_file()]
    return max(complete, key=_step, default=None)


def mark_complete(checkpoint: Path) -> None:
    """Mark `checkpoint` as complete, and only then remove the older ones."""
    with (checkpoint / _MARK).open("w") as stream:
        os.fsync(stream.fileno())
    for folder in _checkpoints(checkpoint.parent):
        if _step(folder) < _step(checkpoint):
            shutil.rmtree(folder, ignore_errors=True)


def remove_torn(root: Path) -> None:
    """Remove checkpoints that were not written to their end."""
    for folder in _checkpoints(root):
        if not (folder / _MARK).is_file():
            shutil.rmtree(folder, ignore_errors=True)


def _checkpoints(root: Path) -> list[Path]:
    return [folder for folder in root.glob("checkpoint-*") if folder.name.removeprefix("checkpoint-").isdigit()]


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("checkpoint-"))
