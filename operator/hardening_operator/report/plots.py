"""The report's plots, as inline SVG. Colours differ without colour vision; every rate has its interval."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardening_api.evaluation import HARM_SETS, HarmSet
from hardening_api.stats import AGREEMENT_BINS_PER_UNIT, AgreementSums
from hardening_api.status import HardeningRunStatus, Rate, RoundStatus, StageStatus
from hardening_operator.planner.types import round_name

COLORS = {"original": "#0072b2", "attacked": "#d55e00", "bank": "#cc79a7", "benign": "#009e73", "base": "#7f7f7f"}
MARKERS = {"original": "o", "attacked": "s", "bank": "^", "benign": "D"}
SIZE = (6.4, 3.4)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hardening", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _errorbar(axes: Axes, points: Sequence[tuple[float, Rate]], label: str, color: str, marker: str) -> None:
    if not points:
        return
    places = [place for place, _ in points]
    values = [rate.value for _, rate in points]
    errors = [
        [rate.value - rate.lower for _, rate in points],
        [rate.upper - rate.value for _, rate in points],
    ]
    axes.errorbar(places, values, yerr=errors, label=label, color=color, marker=marker, capsize=3, linewidth=1.6)


def _entries(status: HardeningRunStatus) -> list[RoundStatus]:
    return [entry for entry in status.entries if entry.evaluations]


def _round_axis(axes: Axes, entries: Sequence[RoundStatus]) -> None:
    rounds = [entry.round for entry in entries]
    axes.set_xticks(rounds, [round_name(number) for number in rounds])
    axes.set_xlim(min(rounds, default=0) - 0.4, max(rounds, default=0) + 0.4)
    axes.set_ylim(-0.03, 1.03)


def harm_rates(status: HardeningRunStatus) -> str:
    """Plot harm rate by round, a line for each evaluation set, and the base model on the same attacks."""
    figure, axes = _figure()
    entries = _entries(status)
    for index, name in enumerate(HARM_SETS):
        points = []
        for entry in entries:
            figures = entry.first_figures.get(name)
            if figures is not None and figures.harm_rate is not None:
                points.append((entry.round + (index - 1) * 0.06, figures.harm_rate))
        _errorbar(axes, points, name, COLORS[name], MARKERS[name])
    under_attack = [
        (entry.round + 0.12, figures.base_harm_rate)
        for entry in entries
        if (figures := entry.first_figures.get("attacked")) is not None and figures.base_harm_rate is not None
    ]
    if under_attack:
        _errorbar(axes, under_attack, "base, attacked", COLORS["base"], "x")
    _round_axis(axes, entries)
    axes.set_ylabel("harm rate")
    axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    return _svg(figure)


def win_and_over_refusal(status: HardeningRunStatus, win_set: HarmSet, min_win_rate: float | None) -> str:
    """Plot win rate over the base on one set and over-refusal by round, with the win-rate gate's line."""
    figure, axes = _figure()
    entries = _entries(status)
    wins, refusals = [], []
    for entry in entries:
        by_set = entry.first_figures
        if (compared := by_set.get(win_set)) is not None and compared.win_rate is not None:
            wins.append((entry.round - 0.04, compared.win_rate))
        if (benign := by_set.get("benign")) is not None and benign.over_refusal is not None:
            refusals.append((entry.round + 0.04, benign.over_refusal))
    _errorbar(axes, wins, "win rate over the base", COLORS[win_set], "o")
    _errorbar(axes, refusals, "over-refusal", COLORS["benign"], "D")
    if min_win_rate is not None:
        axes.axhline(min_win_rate, color=COLORS[win_set], linestyle=":", linewidth=1.2, label="win-rate gate")
    _round_axis(axes, entries)
    axes.set_ylabel("rate")
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    return _svg(figure)


def agreement(histograms: Mapping[str, AgreementSums]) -> str:
    """Plot how R is distributed over answers the judge called harmful and safe, a row a round."""
    figure = Figure(figsize=(SIZE[0], 1.1 + 1.3 * len(histograms)), layout="constrained")
    for index, (title, sums) in enumerate(histograms.items()):
        axes = figure.add_subplot(len(histograms), 1, index + 1)
        axes.spines[["top", "right"]].set_visible(False)
        for counts, label, color, side in (
            (sums.harmful, "judged harmful", COLORS["attacked"], -1),
            (sums.safe, "judged safe", COLORS["original"], 1),
        ):
            places = [int(key) / AGREEMENT_BINS_PER_UNIT for key in counts]
            axes.bar([place + side * 0.05 for place in places], list(counts.values()), 0.1, label=label, color=color)
        ticks = [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5]
        axes.set_xticks(ticks, [f"{math.sinh(tick):.0f}" for tick in ticks])
        axes.set_ylabel(title)
        if index == 0:
            axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.3))
    figure.supxlabel("direct harmfulness R, nats", fontsize="medium")
    return _svg(figure)


def diversity(status: HardeningRunStatus) -> str:
    """Plot the attacker's diversity and share of valid variants by round."""
    figure, axes = _figure()
    attacks = [(entry.round, entry.attack) for entry in status.rounds if entry.attack is not None]
    rounds = [number for number, _ in attacks]
    for field, label, color, marker in (
        ("diversity", "distinct bigrams", COLORS["benign"], "D"),
        ("self_bleu", "self-BLEU (high: alike)", COLORS["bank"], "^"),
    ):
        points = [(number, mean) for number, attack in attacks if (mean := getattr(attack, field)) is not None]
        if points:
            errors = [[m.value - m.lower for _, m in points], [m.upper - m.value for _, m in points]]
            places, values = [number for number, _ in points], [m.value for _, m in points]
            axes.errorbar(places, values, yerr=errors, label=label, color=color, marker=marker, capsize=3)
    valid = [attack.valid / attack.variants if attack.variants else 0.0 for _, attack in attacks]
    axes.plot(rounds, valid, label="valid variants / all", color=COLORS["original"], marker="o")
    axes.set_xticks(rounds, [round_name(number) for number in rounds])
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    return _svg(figure)


def stage_times(stages: Sequence[tuple[int, StageStatus]]) -> str:
    """Plot how long each stage of each round took."""
    figure = Figure(figsize=(SIZE[0], 0.8 + 0.26 * len(stages)), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    labels = [f"{round_name(number)}  {stage.stage}" for number, stage in stages]
    seconds = [stage.seconds or 0.0 for _, stage in stages]
    bars = axes.barh(labels, seconds, color=COLORS["original"], height=0.7)
    axes.bar_label(bars, [f"{value:.0f} s" for value in seconds], padding=3, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    return _svg(figure)
