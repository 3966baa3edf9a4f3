"""Memory of the GPUs this pod sees, asked of the driver at each scrape.

The driver's own tool is asked, not torch: a training's processes are children of the one that serves metrics, and
asking through torch would take memory on every GPU for a context of its own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from hardening_api.stages import GPU_LABELS, STAGE_GPU_GAUGES

QUERY = ("--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits")
TIME_LIMIT_SECONDS = 5.0
MEBIBYTE = 2**20


class GpuMemory(Collector):
    """Exports `STAGE_GPU_GAUGES`; nothing where there is no GPU, or its driver does not answer in time."""

    def __init__(self, labels: Mapping[str, str], tool: str | None = None) -> None:
        self._labels = tuple(labels.values())
        self._tool = tool or shutil.which("nvidia-smi")

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not ask the driver."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield used and total memory by GPU, in bytes."""
        rows = self._rows()
        for column, (name, text) in enumerate(STAGE_GPU_GAUGES.items(), start=1):
            family = GaugeMetricFamily(name, text, labels=GPU_LABELS)
            for row in rows:
                family.add_metric((*self._labels, row[0]), float(row[column]) * MEBIBYTE)
            if rows:
                yield family

    def _rows(self) -> list[list[str]]:
        if self._tool is None:
            return []
        try:
            answer = subprocess.run(  # noqa: S603 - the driver's own tool, without any input
                [self._tool, *QUERY], capture_output=True, text=True, timeout=TIME_LIMIT_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return []
        rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines()]
        return [row for row in rows if len(row) == 3 and all(cell.isdigit() for cell in row)]
