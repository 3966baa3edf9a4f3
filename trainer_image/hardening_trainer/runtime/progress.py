"""The progress of a stage: gauges for Prometheus, and a small file for the process that started it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from hardening_api.stages import STAGE_COUNTERS, STAGE_GAUGES, StageConfig
from hardening_trainer.runtime.gpu_memory import GpuMemory

log = logging.getLogger(__name__)

FILE_INTERVAL_SECONDS = 1.0
Clock = Callable[[], float]


class Progress:
    """Units of work done out of a total, tokens, and a few named figures of one stage.

    With `file`, the same is kept there as JSON: `ratio` (0 to 1), `etaSeconds` (or null), `tokens`, `updated`
    (seconds since the epoch by `clock`), `figures`, `metricsPort`; replaced whole, at most once a second.
    """

    def __init__(self, config: StageConfig, file: Path | None = None, clock: Clock = time.time) -> None:
        self._clock, self._file = clock, file
        self._labels = {"run": config.run.name, "stage": config.stage, "round": str(config.round)}
        self.registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}
        self.registry.register(GpuMemory(self._labels))
        tokens = "hardening_stage_tokens_total"
        self._token_counter = Counter(
            tokens, STAGE_COUNTERS[tokens], list(self._labels), registry=self.registry
        ).labels(**self._labels)
        self._total, self._done, self._resumed, self.tokens = 0, 0, 0, 0
        self._started, self._written = clock(), float("-inf")
        self._port: int | None = None
        self._figures: dict[str, float] = {}
        self._publish()

    def serve(self, port: int) -> int:
        """Answer `/metrics` on `port` (0: any free one) from now on, and return the port."""
        server, _ = start_http_server(port, registry=self.registry)
        self._port = server.server_port
        self._write(force=True)
        return self._port

    def total(self, units: int, done: int = 0) -> None:
        """Say how many units there are, of which `done` were finished by an earlier attempt."""
        self._total, self._done, self._resumed = units, done, done
        self._started = self._clock()
        self._publish()

    def advance(self, units: int = 0, tokens: int = 0) -> None:
        """Count finished units, and tokens that models read or wrote."""
        self._done += units
        self.tokens += tokens
        self._token_counter.inc(tokens)
        self._publish()

    def gauge(self, name: str, value: float) -> None:
        """Show a figure (`loss`, `rewards_margins`) as `hardening_stage_<name>`, which the contract must name."""
        self._figures[name] = value
        self._set(name, value)
        self._write()

    @property
    def ratio(self) -> float:
        """Share of the units done, 0 to 1."""
        return min(1.0, self._done / self._total) if self._total else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left at the pace so far; None before there is one."""
        fresh = self._done - self._resumed
        if fresh <= 0 or self._total <= 0:
            return None
        return max(0.0, (self._clock() - self._started) * (self._total - self._done) / fresh)

    def finish(self) -> None:
        """Show that everything is done."""
        self._total = max(1, self._total)
        self._done = self._total
        self._publish(force=True)

    def _publish(self, force: bool = False) -> None:
        elapsed = self._clock() - self._started
        eta = self.eta_seconds
        self._set("progress_ratio", self.ratio)
        self._set("eta_seconds", float("nan") if eta is None else eta)
        self._set("tokens_per_second", self.tokens / elapsed if elapsed > 0 else 0.0)
        self._write(force)

    def _set(self, name: str, value: float) -> None:
        gauge = self._gauges.get(name)
        if gauge is None:
            full_name = f"hardening_stage_{name}"
            gauge = Gauge(full_name, STAGE_GAUGES[full_name], list(self._labels), registry=self.registry)
            self._gauges[name] = gauge
        gauge.labels(**self._labels).set(value)

    def _write(self, force: bool = False) -> None:
        now = self._clock()
        if self._file is None or (not force and now - self._written < FILE_INTERVAL_SECONDS):
            return
        self._written = now
        document: dict[str, Any] = {
            "ratio": self.ratio,
            "etaSeconds": self.eta_seconds,
            "tokens": self.tokens,
            "updated": now,
            "figures": self._figures,
            "metricsPort": self._port,
        }
        temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(document))
            temporary.replace(self._file)
        except OSError as error:
            log.warning("%s: progress is not written: %s", self._file, error.strerror)
