"""What a person sees of a run in the terminal: a table of rounds and figures, and a bar for every running stage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hardening_api.run import HardeningRun
from hardening_api.status import EvaluationFigures, HardeningRunStatus, Rate, RoundStatus
from hardening_operator.observed import Event, Observed

SETS = ("original", "attacked", "bank")
COLORS = {"Pass": "green", "Fail": "red", "Inconclusive": "yellow"}


def rate_text(rate: Rate | None) -> str:
    """Return `0.21 [0.14, 0.31]`, or a dash."""
    return "-" if rate is None else f"{rate.value:.2f} [{rate.lower:.2f}, {rate.upper:.2f}]"


def figures_table(status: HardeningRunStatus) -> Table:
    """Return one row for the base model and one a round, each rate with its 95 % interval."""
    table = Table(title=None, expand=False, header_style="bold")
    table.add_column("round")
    for name in SETS:
        table.add_column(f"harm {name}", justify="right")
    table.add_column("win rate", justify="right")
    table.add_column("over-refusal", justify="right")
    table.add_column("verdict")
    if status.base is not None:
        table.add_row("base", *_cells(status.base))
    for entry in status.rounds:
        table.add_row(str(entry.round), *_cells(entry))
    return table


def _cells(entry: RoundStatus) -> list[str]:
    first = first_judge(entry.evaluations)
    cells = [rate_text(first[name].harm_rate if name in first else None) for name in SETS]
    cells.append(rate_text(first["original"].win_rate if "original" in first else None))
    cells.append(rate_text(first["benign"].over_refusal if "benign" in first else None))
    verdict = entry.verdict or ""
    cells.append(f"[{COLORS[verdict]}]{verdict}[/]" if verdict else "")
    return cells


def first_judge(evaluations: Iterable[EvaluationFigures]) -> dict[str, EvaluationFigures]:
    """Return each set's figures under the first judge that has any."""
    first: dict[str, EvaluationFigures] = {}
    for figures in evaluations:
        first.setdefault(figures.set, figures)
    return first


def _bars(status: HardeningRunStatus, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for progress in status.progress:
        eta = "" if progress.eta_seconds is None else f"about {duration(progress.eta_seconds)} left"
        where = "base" if progress.round == 0 else f"round {progress.round}"
        bar = ProgressBar(total=1.0, completed=progress.ratio, width=width)
        grid.add_row(where, progress.stage, bar, f"{progress.ratio:4.0%}", Text(eta, style="dim"))
    return grid


def duration(seconds: float) -> str:
    """Return `1 h 05 min`, `3 min 20 s` or `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def closing_words(status: HardeningRunStatus, folder: Path) -> RenderableType:
    """Return the figures and the decision in words, with the next command."""
    last = status.decisions[-1] if status.decisions else None
    color = {"Promoted": "green", "Failed": "red"}.get(status.phase, "yellow")
    lines = [Text(f"{status.phase}", style=f"bold {color}")]
    if last is not None:
        lines.append(Text(last.message))
    lines.append(Text(f"Report: hardening report {folder}", style="dim"))
    return Group(figures_table(status), *lines)


class LiveView:
    """A table and bars that are redrawn in place."""

    def __init__(self, console: Console, run: HardeningRun, folder: Path) -> None:
        self._console, self._folder = console, folder
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._title = Text(f"{run.metadata.name}  {run.spec.model.uri}  logs in {folder / 'embedded'}", style="bold")

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        self._live.stop()

    def update(self, status: HardeningRunStatus, observed: Observed) -> None:  # noqa: ARG002 - the View protocol
        """Redraw."""
        width = max(10, min(40, self._console.width - 60))
        self._live.update(Group(self._title, figures_table(status), _bars(status, width)))

    def event(self, event: Event) -> None:
        """Print the event above the table."""
        self._console.print(_event_text(event))


class PlainView:
    """One line an event and a line for every tenth of a stage, for logs and pipes."""

    def __init__(self, console: Console, run: HardeningRun, folder: Path) -> None:
        self._console = console
        self._told: dict[tuple[int, str], int] = {}
        console.print(f"{run.metadata.name} {run.spec.model.uri} in {folder}", soft_wrap=True, highlight=False)

    def __enter__(self) -> Self:
        """Nothing to take."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back."""

    def update(self, status: HardeningRunStatus, observed: Observed) -> None:  # noqa: ARG002 - the View protocol
        """Tell the progress of running stages, a line for every tenth."""
        for progress in status.progress:
            tenth = int(progress.ratio * 10)
            key = (progress.round, progress.stage)
            if tenth > self._told.get(key, 0):
                self._told[key] = tenth
                eta = "" if progress.eta_seconds is None else f", about {duration(progress.eta_seconds)} left"
                line = f"round {progress.round} {progress.stage} {progress.ratio:.0%}{eta}"
                self._console.print(line, soft_wrap=True, highlight=False)

    def event(self, event: Event) -> None:
        """Print the event."""
        self._console.print(_event_text(event), soft_wrap=True)


def _event_text(event: Event) -> Text:
    return Text(f"{event.reason}: {event.message}", style="yellow" if event.type == "Warning" else "")
