"""A picture of the dashboard: its own queries asked of a running Prometheus, its panels drawn in its own layout.

    python -m tests.metrics.picture --prometheus 9090 --run my-model --output docs/dashboard

It writes one file for each row of the dashboard that has data: `docs/dashboard-all-runs.png` and so on. It is not
Grafana that draws, so colours and fonts are like Grafana's and not the same; what is shown is what Grafana would show.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from tests.metrics.drawing import BACKGROUND, TEXT, Series, draw
from tests.metrics.prometheus_server import Prometheus
from tools.generate.dashboard import build_dashboard

COLUMNS, CELL_WIDTH, CELL_HEIGHT, GAP = 24, 0.62, 0.34, 0.09
"""Of Grafana's grid; the last three in inches."""
STEPS = 240
DPI = 100
Panel = dict[str, Any]


def main() -> None:
    """Draw every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", type=int, required=True, help="its port on this machine")
    parser.add_argument("--namespace", default=".+")
    parser.add_argument("--run", default="")
    parser.add_argument("--judge", default="refusal-pattern")
    parser.add_argument("--monitor", default="")
    parser.add_argument("--start", type=float, help="seconds since the epoch; default an hour before the end")
    parser.add_argument("--end", type=float, default=time.time())
    parser.add_argument("--output", type=Path, default=Path("docs/dashboard"), help="the files' path, less -ROW.png")
    given = parser.parse_args()
    values = {"namespace": given.namespace, "run": given.run, "judge": given.judge, "monitor": given.monitor}
    source = Source(Prometheus(given.prometheus), values, given.start or given.end - 3600, given.end)
    for path in draw_dashboard(source, given.output):
        print(path)  # noqa: T201 - for the caller


class Source:
    """What the panels ask: a Prometheus, the dashboard's variables, and the time shown."""

    def __init__(self, prometheus: Prometheus, variables: dict[str, str], start: float, end: float) -> None:
        self._prometheus, self._variables, self.start, self.end = prometheus, variables, start, end

    def text(self, template: str) -> str:
        """A title or an expression with the variables filled in, as Grafana does."""
        filled = template.replace("$__rate_interval", "60s")
        for name, value in self._variables.items():
            filled = filled.replace(f"${name}", value)
        return filled

    def ask(self, target: dict[str, Any]) -> list[Series]:
        """The series of one query of a panel: points over time, or the one at the end."""
        expression = self.text(target["expr"])
        if target.get("instant"):
            result = self._prometheus.query(expression, time=self.end)
        else:
            asked = {"query": expression, "start": self.start, "end": self.end, "step": self._step}
            result = self._prometheus.get("query_range", **asked)["result"]
        return [
            Series(_legend(target["legendFormat"], one["metric"]), one["metric"], self._points(one)) for one in result
        ]

    @property
    def _step(self) -> float:
        return max(1.0, (self.end - self.start) / STEPS)

    def _points(self, series: dict[str, Any]) -> list[tuple[float, float]]:
        """Its points; where some are missing, NaN breaks the line, as in Grafana."""
        points: list[tuple[float, float]] = []
        for moment, value in series.get("values") or [series["value"]]:
            if points and moment - points[-1][0] > 1.5 * self._step:
                points.append((points[-1][0] + self._step, math.nan))
            points.append((float(moment), float(value)))
        return points

    def annotations(self, document: dict[str, Any]) -> list[tuple[float, str]]:
        """When an alert began to fire in the time shown, and its name."""
        [annotation] = document["annotations"]["list"]
        target = {"expr": annotation["expr"], "legendFormat": annotation["titleFormat"]}
        return [(series.points[0][0], series.name) for series in self.ask(target)]


def draw_dashboard(source: Source, output: Path) -> list[Path]:
    """Draw each row of the dashboard into a file of its own and return the files; a row without data has none."""
    matplotlib.use("agg")
    document = build_dashboard()
    alerts = source.annotations(document)
    written = []
    for title, panels in _rows(document):
        answers = [[source.ask(target) for target in panel["targets"]] for panel in panels]
        if not any(series for answer in answers for series in answer):
            continue
        words = re.sub(r"[^a-z]+", "-", title.replace("$run", "").replace("$monitor", "").lower()).strip("-")
        path = output.with_name(f"{output.name}-{words}.png")
        _draw_row(source, source.text(title), panels, answers, alerts, path)
        written.append(path)
    return written


def _rows(document: dict[str, Any]) -> Iterator[tuple[str, list[Panel]]]:
    """Each row's title with the panels below it."""
    title, panels = "", []
    for panel in document["panels"]:
        if panel["type"] != "row":
            panels.append(panel)
            continue
        if panels:
            yield title, panels
        title, panels = panel["title"], []
    yield title, panels


def _draw_row(
    source: Source,
    title: str,
    panels: list[Panel],
    answers: list[list[list[Series]]],
    alerts: list[tuple[float, str]],
    path: Path,
) -> None:
    top = min(panel["gridPos"]["y"] for panel in panels) - 1
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = COLUMNS * CELL_WIDTH, (bottom - top) * CELL_HEIGHT
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=BACKGROUND)
    figure.text(GAP / width, 1 - 0.5 * CELL_HEIGHT / height, title, color=TEXT, fontsize=11, weight="bold", va="center")
    for panel, answer in zip(panels, answers, strict=True):
        at = panel["gridPos"]
        box = (
            (at["x"] * CELL_WIDTH + GAP / 2) / width,
            (height - (at["y"] - top + at["h"]) * CELL_HEIGHT + GAP / 2) / height,
            (at["w"] * CELL_WIDTH - GAP) / width,
            (at["h"] * CELL_HEIGHT - GAP) / height,
        )
        draw(figure, box, panel | {"title": source.text(panel["title"])}, answer, (source.start, source.end), alerts)
    figure.savefig(path, facecolor=BACKGROUND)


def _legend(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template)


if __name__ == "__main__":
    main()
