"""How kopf watches: which objects, with which timeouts, and to write nothing by itself."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import kopf

from hardening_operator.resources import MANAGED_BY_LABEL, MANAGER

REQUEST_SECONDS, CONNECT_SECONDS = 30.0, 5.0
WATCH_SECONDS = 600
"""A watch is reopened this often, from where it was."""
CHUNK = 500
"""Objects in one answer to a list."""


class Backoff(Iterable[float]):
    """Delays before a call to the API server is repeated: growing, jittered, without end. It may be away for long."""

    def __iter__(self) -> Iterator[float]:
        """Yield the delays of one call, in seconds."""
        delay = 0.5
        while True:
            yield delay * (0.5 + random.random())  # noqa: S311 - spreads calls, guards nothing
            delay = min(30.0, delay * 2)


class NoHistory(kopf.DiffBaseStorage):
    """Keeps no last-handled state of objects: what is decided follows from what is, not from what has changed."""

    def build(self, **_: Any) -> Any:
        """Return nothing to compare."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Return that nothing is known."""
        return None

    def store(self, **_: Any) -> None:
        """Keep nothing."""


def configure(settings: kopf.OperatorSettings) -> None:
    """Set what kopf does while it watches."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = NoHistory()
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    settings.networking.error_backoffs = Backoff()
    settings.watching.connect_timeout = CONNECT_SECONDS
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + REQUEST_SECONDS
    settings.watching.chunk_size = CHUNK
    settings.queueing.exit_timeout = 1.0
    for resource in (("batch", "v1", "jobs"), ("", "v1", "pods")):
        settings.watching.label_selectors[resource] = f"{MANAGED_BY_LABEL}={MANAGER}"
