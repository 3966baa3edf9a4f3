"""The dashboard's kinds of panels, drawn by matplotlib from what Prometheus answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BACKGROUND, PANEL, BORDER, TEXT, FAINT = "#111217", "#181b1f", "#2c3035", "#ccccdc", "#7b8087"
COLORS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#8ab8ff", "#ffb357", "#e0b400")
GOOD, BAD = "#73bf69", "#f2495c"
SMALL, NORMAL, LARGE = 7.5, 9, 17
NO_DATA = "No data"
Box = tuple[float, float, float, float]
Span = tuple[float, float]
Alerts = Sequence[tuple[float, str]]


class Series(NamedTuple):
    """One answer: what it is called, its labels, and its points (seconds, value)."""

    name: str
    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        return self.points[-1][1]


Answers = Sequence[Sequence[Series]]


def draw(figure: Figure, box: Box, panel: dict[str, Any], answers: Answers, span: Span, alerts: Alerts) -> None:
    """Draw one panel into its box."""
    frame = figure.add_axes(box, facecolor=PANEL)
    frame.set(xticks=[], yticks=[])
    for side in frame.spines.values():
        side.set_color(BORDER)
    width, height = (box[2] * figure.get_figwidth(), box[3] * figure.get_figheight())
    frame.text(0.09 / width, 1 - 0.09 / height, panel["title"], color=TEXT, fontsize=NORMAL, weight="bold", va="top",
               transform=frame.transAxes)  # fmt: skip
    left, right, low, high = 0.55, 0.15, 0.52, 0.36
    inner = (
        box[0] + left / figure.get_figwidth(),
        box[1] + low / figure.get_figheight(),
        box[2] - (left + right) / figure.get_figwidth(),
        box[3] - (low + high) / figure.get_figheight(),
    )
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if not any(answers):
        frame.text(0.5, 0.45, NO_DATA, color=FAINT, fontsize=NORMAL, ha="center", transform=frame.transAxes)
        return
    kind = panel["type"]
    if kind == "stat":
        _numbers(frame, panel, answers, unit)
    elif kind == "table":
        _table(frame, panel, answers)
    elif kind == "bargauge":
        _gauges(frame, answers, unit)
    else:
        axes = figure.add_axes(inner, facecolor=PANEL)
        if kind == "timeseries":
            _lines(axes, answers, unit, span, alerts)
        elif kind == "trend":
            _trend(axes, panel, answers, unit)
        elif kind == "barchart":
            _bars(axes, panel, answers, unit)
        else:
            _states(axes, panel, answers, span)


def shown(value: float, unit: str) -> str:
    """A value in its unit, as Grafana writes it."""
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit == "s":
        return _duration(value)
    if unit == "sci":
        return f"{value:.2e}"
    base, ends = (1024.0, ("", "Ki", "Mi", "Gi", "Ti")) if unit == "bytes" else (1000.0, ("", "K", "Mil", "Bil"))
    size = min(len(ends) - 1, int(math.log(abs(value), base))) if abs(value) >= base else 0
    text = f"{value / base**size:.3g}"
    return f"{text} {ends[size]}{'B' if unit == 'bytes' else ''}".strip()


def _duration(seconds: float) -> str:
    for size, name in ((86400, "day"), (3600, "hour"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s" if abs(seconds) >= 1 or not seconds else f"{1000 * seconds:.3g} ms"


def _numbers(frame: Axes, panel: dict[str, Any], answers: Answers, unit: str) -> None:
    series = [one for answer in answers for one in answer]
    names_only = panel["options"].get("textMode") == "name"
    for place, one in enumerate(series):
        middle = (place + 0.5) / len(series)
        text = one.name if names_only else shown(one.last, unit)
        size = LARGE if len(text) < 12 else LARGE * 0.72
        frame.text(middle, 0.36, text, color=COLORS[0] if names_only else TEXT, fontsize=size, ha="center", va="center",
                   transform=frame.transAxes)  # fmt: skip
        if len(series) > 1 or panel["options"].get("textMode") == "value_and_name":
            frame.text(middle, 0.66, one.name, color=FAINT, fontsize=SMALL, ha="center", transform=frame.transAxes)


def _gauges(frame: Axes, answers: Answers, unit: str) -> None:
    series = [one for answer in answers for one in answer]
    most = 1.0 if unit == "percentunit" else max(*(one.last for one in series), 1e-9)
    height = min(0.11, 0.78 / len(series))
    for place, one in enumerate(series):
        y = 0.84 - (place + 1) * height
        frame.text(0.03, y + height * 0.3, one.name, color=TEXT, fontsize=SMALL, transform=frame.transAxes)
        for length, color in ((1.0, BORDER), (one.last / most, GOOD)):
            frame.barh(y + height * 0.45, 0.38 * length, height * 0.62, left=0.44, color=color)
        frame.text(0.84, y + height * 0.3, shown(one.last, unit), color=TEXT, fontsize=SMALL, transform=frame.transAxes)
    frame.set(xlim=(0, 1), ylim=(0, 1))


def _table(frame: Axes, panel: dict[str, Any], answers: Answers) -> None:
    """A column for each label, then one for each query that has a name; rows by the labels that the queries share."""
    names = [target["legendFormat"] for target in panel["targets"]]
    shared = set.intersection(*(set(answer[0].labels) for answer in answers if answer))
    labels = list(dict.fromkeys(label for answer in answers for one in answer for label in one.labels))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    units = {rule["matcher"]["options"]: field["value"] for rule in panel["fieldConfig"]["overrides"]
             for field in rule["properties"] if field["id"] == "unit"}  # fmt: skip
    for name, answer in zip(names, answers, strict=True):
        for one in answer:
            row = cells.setdefault(tuple(one.labels[label] for label in sorted(shared)), {})
            row |= one.labels | ({name: shown(one.last, units.get(name, "short"))} if name else {})
    columns = [*labels, *(name for name in names if name)]
    height = min(0.105, 0.8 / (len(cells) + 1))
    edges = [index / len(columns) for index in range(len(columns))]
    for place, row in enumerate([{column: column for column in columns}, *cells.values()]):
        y = 0.86 - (place + 1) * height
        for x, column in zip(edges, columns, strict=True):
            color = "#6e9fff" if place == 0 or column == "run" else TEXT
            frame.text(0.012 + x * 0.985, y + height * 0.3, row.get(column, ""), color=color, fontsize=SMALL,
                       weight="bold" if place == 0 else "normal", transform=frame.transAxes)  # fmt: skip
        frame.plot([0.01, 0.99], [y, y], color=BORDER, linewidth=0.7, transform=frame.transAxes)


def _lines(axes: Axes, answers: Answers, unit: str, span: Span, alerts: Alerts) -> None:
    series = [one for answer in answers for one in answer]
    _banded(axes, [(one.name, *zip(*one.points, strict=True)) for one in series], step="post", marker=None)
    axes.set_xlim(*span)
    for moment, _ in alerts:
        axes.axvline(moment, color=BAD, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot([moment], [0], "^", color=BAD, markersize=5, clip_on=False, transform=axes.get_xaxis_transform())
    _clock(axes, span)
    _finish(axes, unit)


def _trend(axes: Axes, panel: dict[str, Any], answers: Answers, unit: str) -> None:
    lines = []
    for target, answer in zip(panel["targets"], answers, strict=True):
        points = sorted((int(one.labels["round"]), one.last) for one in answer)
        if points:
            lines.append((target["legendFormat"], *zip(*points, strict=True)))
    _banded(axes, lines, step=None, marker="o")
    rounds = sorted({number for _, numbers, _ in lines for number in numbers})
    axes.set_xticks(rounds, [str(number) for number in rounds])
    axes.set_xlim(rounds[0] - 0.35, rounds[-1] + 0.35)
    _finish(axes, unit)


def _banded(axes: Axes, lines: Sequence[tuple[Any, ...]], step: Any, marker: str | None) -> None:
    """Lines, with the area between those called lower and upper, and limits and baselines dashed."""
    ends = {name: (x, y) for name, x, y in lines if name in ("lower", "upper")}
    if len(ends) == 2:
        axes.fill_between(ends["lower"][0], ends["lower"][1], ends["upper"][1], color=COLORS[0], alpha=0.18, step=step,
                          linewidth=0)  # fmt: skip
    drawn = [line for line in lines if line[0] not in ends]
    for (name, x, y), color in zip(drawn, COLORS * 9, strict=False):
        style: dict[str, Any] = {"marker": marker, "markersize": 4.5}
        if name.endswith(("limit", "baseline")):
            style = {"linestyle": (0, (5, 4))}
        if step:
            style["drawstyle"] = f"steps-{step}"
        axes.plot(x, y, color=color, label=name, linewidth=1.5, **style)
        if marker is None:
            axes.plot(*_alone(x, y), "o", color=color, markersize=3.5)


def _alone(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points without a neighbour, which no line shows."""
    around = [math.nan, *y, math.nan]
    alone = [i for i in range(len(y)) if math.isnan(around[i]) and math.isnan(around[i + 2])]
    return [x[i] for i in alone], [y[i] for i in alone]


def _bars(axes: Axes, panel: dict[str, Any], answers: Answers, unit: str) -> None:
    row, column = panel["options"]["xField"].split("\\")
    series = [one for answer in answers for one in answer]
    rounds = sorted({one.labels[row] for one in series}, key=int)
    bottom = dict.fromkeys(rounds, 0.0)
    for kind, color in zip(sorted({one.labels[column] for one in series}), COLORS, strict=False):
        values = {one.labels[row]: one.last for one in series if one.labels[column] == kind}
        heights = [values.get(number, 0.0) for number in rounds]
        axes.bar(rounds, heights, 0.6, bottom=[bottom[number] for number in rounds], color=color, label=kind)
        bottom = {number: bottom[number] + value for number, value in zip(rounds, heights, strict=True)}
    axes.set_xlim(-0.7, len(rounds) - 0.3)
    _finish(axes, unit)


def _states(axes: Axes, panel: dict[str, Any], answers: Answers, span: Span) -> None:
    series = [one for answer in answers for one in answer]
    [mapping] = panel["fieldConfig"]["defaults"]["mappings"]
    colors = {value: GOOD if result["color"] == "green" else BAD for value, result in mapping["options"].items()}
    words = {value: result["text"] for value, result in mapping["options"].items()}
    for place, one in enumerate(series):
        starts = [i for i, (_, v) in enumerate(one.points) if i == 0 or one.points[i - 1][1] != v]
        for start, following in zip(starts, [*starts[1:], len(one.points) - 1], strict=True):
            moment, value = one.points[start]
            if math.isnan(value):
                continue
            text = f"{value:.0f}"
            axes.barh(place, one.points[following][0] - moment, 0.7, left=moment, color=colors[text])
            axes.text((moment + one.points[following][0]) / 2, place, words[text], color=PANEL, fontsize=SMALL,
                      ha="center", va="center", clip_on=True)  # fmt: skip
        axes.text(span[0], place + 0.4, one.name, color=FAINT, fontsize=SMALL, va="bottom", ha="left")
    axes.set(yticks=[], ylim=(-0.6, len(series) - 0.2), xlim=span)
    _clock(axes, span)
    _plain(axes)


def _clock(axes: Axes, span: Span) -> None:
    count = 4
    marks = [span[0] + (span[1] - span[0]) * (index + 0.5) / count for index in range(count)]
    form = "%H:%M" if span[1] - span[0] > count * 60 else "%H:%M:%S"
    axes.set_xticks(marks, [datetime.fromtimestamp(mark, UTC).strftime(form) for mark in marks])


def _finish(axes: Axes, unit: str) -> None:
    _plain(axes)
    axes.grid(visible=True, color=BORDER, linewidth=0.7)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()
    if unit == "percentunit":
        axes.set_ylim(0, max(high, 0.02))
    elif low > 0 and unit in ("s", "bytes"):
        axes.set_ylim(0, high)
    written: Callable[[float, int], str] = lambda value, _: shown(value, unit)  # noqa: E731 - the type is the point
    axes.yaxis.set_major_formatter(written)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 3, 6, 10] if unit == "s" else None))
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        width = axes.get_position().width * axes.figure.get_figwidth()
        columns = max(1, int((width + 0.5) / (0.06 * max(map(len, labels)) + 0.35)))
        seen = slice(2 * columns)
        axes.legend(
            handles[seen],
            labels[seen],
            loc="upper left",
            bbox_to_anchor=(-0.45 / width, -0.1),
            ncols=columns,
            fontsize=SMALL,
            labelcolor=TEXT,
            frameon=False,
            handlelength=1.2,
            columnspacing=1.0,
            borderpad=0,
        )


def _plain(axes: Axes) -> None:
    axes.tick_params(colors=FAINT, labelsize=SMALL, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
