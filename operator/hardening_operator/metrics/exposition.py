"""A registry over HTTP, or in a file for the node exporter's textfile collector."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile


class ExpositionError(Exception):
    """Metrics cannot be given out where they were asked for; the text says why and what to do."""


def serve(registry: CollectorRegistry, port: int, address: str = "0.0.0.0") -> int:  # noqa: S104 - scraped from outside
    """Answer `/metrics` on ``port`` (0: any free one) from now on, in a thread, and return the port.

    Raises ExpositionError when the port cannot be had.
    """
    try:
        server, _ = start_http_server(port, addr=address, registry=registry)
    except (OSError, OverflowError) as error:
        raise ExpositionError(f"--metrics-port: got {port}: {error}: expected a free port") from None
    return server.server_port


def write(registry: CollectorRegistry, path: Path) -> None:
    """Replace ``path`` with the registry's text, atomically. Raises ExpositionError when it cannot be written."""
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise ExpositionError(
            f"--metrics-textfile: got {path}: {error.strerror}: expected a file in a folder that can be written to"
        ) from None
