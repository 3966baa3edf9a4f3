"""Requests to stop: SIGTERM and Ctrl-C set a flag, which stages check where they can save."""

from __future__ import annotations

import signal
from types import FrameType

from hardening_trainer.errors import Interrupted


class StopSignal:
    """A request to stop. `check()` raises Interrupted at the next safe point after it came."""

    def __init__(self) -> None:
        self._name: str | None = None

    def install(self) -> None:
        """Catch SIGTERM and SIGINT in this process from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.request(signal.Signals(number).name)

    def request(self, name: str) -> None:
        """Ask the stage to stop, as the signal `name` would."""
        self._name = name

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self._name is not None

    def check(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self._name is not None:
            raise Interrupted(f"stopped by {self._name}: the work done is saved, and the next run resumes from it")
