"""One scrape of the operator's metrics with many runs: time, size, series.

    python -m benchmarks.metrics_scrape [--runs 1000] [--rounds 3] [--scrapes 20]

The statuses are built from the contract's models, as plain JSON data, as the operator's index holds them: two judges,
every evaluation set, one run in a hundred live. Scraped over HTTP on the loopback device, in the text format and
in OpenMetrics, with gzip as Prometheus asks for it and without. Goals, at 1,000 runs of 3 rounds: 500 ms, 2 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from hardening_operator.metrics.exporter import StatusCollector, serve
from tests.metrics.fleet import healthy_monitors, many

RESULTS = Path(__file__).parent / "results"
FORMATS = {
    "text": "text/plain;version=0.0.4",
    "openmetrics": "application/openmetrics-text;version=1.0.0",
}
GOALS = {"seconds": 0.5, "bytes": 2 * 2**20}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scrapes", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS / "metrics_scrape.json")
    given = parser.parse_args()
    runs = many(given.runs, given.rounds)
    registry = CollectorRegistry()
    registry.register(StatusCollector(lambda: runs, lambda: healthy_monitors(datetime(2026, 1, 1, tzinfo=UTC))))
    port = serve(registry, 0, "127.0.0.1")
    figures = {
        f"{name}{'+gzip' if gzip else ''}": measured(port, accept, gzip, given.scrapes)
        for name, accept in FORMATS.items()
        for gzip in (False, True)
    }
    detail = {
        kind: registry.get_sample_value("hardening_exported_runs", {"detail": kind})
        for kind in ("full", "short", "summary", "none")
    }
    result = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1)},
        "runs": given.runs,
        "rounds": given.rounds,
        "goals": GOALS,
        "runs_by_detail": detail,
        "scrape": figures,
    }
    print(json.dumps(result, indent=1))
    given.output.write_text(json.dumps(result, indent=2) + "\n")


def measured(port: int, accept: str, gzip: bool, scrapes: int) -> dict[str, Any]:
    """Scrape some times; the first, which warms up, is left out."""
    headers = {"Accept": accept, **({"Accept-Encoding": "gzip"} if gzip else {})}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
    seconds, processor, body = [], [], b""
    for _ in range(scrapes + 1):
        started, used = time.perf_counter(), time.process_time()
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own port
            body = answer.read()
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    figures: dict[str, Any] = {
        "bytes": len(body),
        "seconds": {"median": statistics.median(seconds[1:]), "max": max(seconds[1:])},
        "processor_seconds": {"median": statistics.median(processor[1:]), "max": max(processor[1:])},
    }
    if not gzip:
        figures["series"] = sum(not line.startswith(b"#") for line in body.splitlines())
    return figures


if __name__ == "__main__":
    main()
