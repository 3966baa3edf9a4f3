"""The metrics of a local run: the same series as a cluster's operator has, over HTTP or in a file."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from hardening_api.run import HardeningRun
from hardening_api.status import HardeningRunStatus
from hardening_operator.local.runner import View
from hardening_operator.metrics.exporter import ExpositionError, StatusCollector, serve, write
from hardening_operator.metrics.facts import RunFacts, facts_of_local_run
from hardening_operator.planner.types import Event, Observed


class RunMetrics:
    """A view that shows a run's series, on ``port`` of this machine and in ``textfile``, and passes on to ``view``.

    Raises ExpositionError when the port cannot be had or the file cannot be written. A file that can no longer be
    written later is an event: it does not end the run.
    """

    def __init__(self, run: HardeningRun, view: View, port: int | None, textfile: Path | None) -> None:
        self._run, self._view, self._textfile = run, view, textfile
        self._status = HardeningRunStatus()
        self._registry = CollectorRegistry()
        self._registry.register(StatusCollector(self._facts))
        self.port = serve(self._registry, port, "127.0.0.1") if port is not None else None
        self._write()

    def update(self, status: HardeningRunStatus, observed: Observed) -> None:
        """See the run as it is now."""
        if status != self._status:
            self._status = status
            try:
                self._write()
            except ExpositionError as error:
                self._view.event(Event("Warning", "MetricsNotWritten", str(error)))
        self._view.update(status, observed)

    def event(self, event: Event) -> None:
        """Hear what happened."""
        self._view.event(event)

    def _facts(self) -> list[RunFacts]:
        return [facts_of_local_run(self._run, self._status)]

    def _write(self) -> None:
        if self._textfile is not None:
            write(self._registry, self._textfile)
