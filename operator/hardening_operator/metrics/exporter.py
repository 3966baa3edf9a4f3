"""Gives metrics out: at every scrape, series from the status of all runs and monitors, within a size.

The collector keeps nothing between scrapes. So an operator restart or a failover loses nothing, and what was deleted is
gone. A registry is served over HTTP, or written to a file for the node exporter's textfile collector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from hardening_operator.metrics.catalogue import COLLECTOR_METRICS, MONITOR_METRICS, RUN_METRICS, expanded
from hardening_operator.metrics.facts import MonitorFacts, RunFacts
from hardening_operator.metrics.monitor_series import monitor_series
from hardening_operator.metrics.run_series import (
    Sample,
    full_series,
    is_live,
    short_series,
    started,
    summary_series,
)

SIZE_LIMIT = 1_900_000
"""Bytes of text, before compression, that the series of runs may take: under 2 MiB with everything else."""
VALUE_BYTES = 22
"""Room for a value, the braces and the line's end."""
METRICS = expanded(RUN_METRICS + MONITOR_METRICS + COLLECTOR_METRICS)
FIXED_BYTES = {
    name: len(name) + sum(len(label) + 4 for label in metric.labels) + VALUE_BYTES for name, metric in METRICS.items()
}


class StatusCollector(Collector):
    """Exports the status of the resources that `runs` and `monitors` return.

    They are called at each scrape, in the thread that answers it. While everything fits into `size_limit` bytes every
    run has all its series. Beyond it `fitted` says who has less; the series a run no longer has stay in Prometheus'
    own history. `hardening_exported_runs` counts the runs by detail.
    """

    def __init__(
        self,
        runs: Callable[[], Iterable[RunFacts]],
        monitors: Callable[[], Iterable[MonitorFacts]] = tuple,
        size_limit: int = SIZE_LIMIT,
    ) -> None:
        self._runs, self._monitors, self._size_limit = runs, monitors, size_limit

    def collect(self) -> Iterator[Family]:
        """Yield one family for each metric that has a sample."""
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for sample in self._samples():
            family = families.get(sample.name)
            if family is None:
                family = families[sample.name] = _family(sample.name)
            family.add_metric(sample.labels, sample.value)
        yield from families.values()

    def _samples(self) -> Iterator[Sample]:
        detail: Counter[str] = Counter(dict.fromkeys(("full", "short", "summary", "none"), 0))
        for kind, samples in fitted(list(self._runs()), self._size_limit):
            detail[kind] += 1
            yield from samples
        for monitor in self._monitors():
            yield from monitor_series(monitor)
        for kind, count in detail.items():
            yield Sample("hardening_exported_runs", (kind,), count)


def fitted(runs: list[RunFacts], size_limit: int) -> list[tuple[str, list[Sample]]]:
    """Return each run's samples and how detailed they are: full, short, summary or none.

    First every run gets its summary, then every live run its short series, then one after the other all of them, as
    long as there is room: live runs first, and then those started last.
    """
    ordered = sorted(runs, key=lambda facts: (is_live(facts), started(facts)), reverse=True)
    chosen: list[tuple[str, list[Sample]]] = [("none", []) for _ in ordered]
    live = sum(map(is_live, ordered))
    left = size_limit
    for detail, series, count in (
        ("summary", summary_series, len(ordered)),
        ("short", short_series, live),
        ("full", full_series, len(ordered)),
    ):
        for index in range(count):
            samples = list(series(ordered[index]))
            extra = text_size(samples) - text_size(chosen[index][1])
            if extra > left:
                break
            left -= extra
            chosen[index] = (detail, samples)
    return chosen


def text_size(samples: Iterable[Sample]) -> int:
    """Return about how many bytes the samples take as text; never too few."""
    return sum(FIXED_BYTES[sample.name] + sum(map(len, sample.labels)) for sample in samples)


def _family(name: str) -> GaugeMetricFamily | CounterMetricFamily:
    metric = METRICS[name]
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(name, metric.part_help(name.removeprefix(metric.name)), labels=metric.labels)


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
