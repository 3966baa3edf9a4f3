"""What a person sees of a run in the terminal: a table of rounds and figures, and a bar for every running stage."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hardening_api.evaluation import HARM_SETS
from hardening_api.status import HardeningRunStatus, Phase, RoundStatus, StageProgress
from hardening_operator.formatting import duration, rate_text
from hardening_operator.planner.types import Event, Observed, round_name

COLORS = {"Pass": "green", "Fail": "red", "Inconclusive": "yellow"}
PHASE_COLORS: dict[Phase, str] = {"Promoted": "green", "Failed": "red", "Running": "cyan", "Promoting": "cyan"}
WIDE = 118
"""From this width on, a rate and its interval fit on one line."""
ROUNDS_SHOWN_LIVE = 8


def figures_table(status: HardeningRunStatus, width: int, newest: int | None = None) -> Table:
    """Return one row for the base model and one a round, each rate with its 95 % interval, in ``width`` columns.

    With ``newest`` only so many rounds are shown, the last ones.
    """
    wide = width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("round")
    for what in (*(f"harm {name}" for name in HARM_SETS), "win rate", "over- refusal"):
        title = what.replace("- ", "-") if wide else what.replace(" ", "\n")
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if status.base is not None:
        table.add_row("base", *_cells(status.base, wide))
    for entry in status.rounds[-newest:] if newest else status.rounds:
        table.add_row(str(entry.round), *_cells(entry, wide))
    judges = {judge for entry in status.entries for judge in _judges(entry)}
    if judges:
        table.caption = f"by judge {', '.join(sorted(judges))}, with 95 % intervals"
        table.caption_justify = "left"
    return table


def _cells(entry: RoundStatus, wide: bool) -> list[str]:
    first = entry.first_figures
    rates = [first[name].harm_rate if name in first else None for name in HARM_SETS]
    rates.append(first["original"].win_rate if "original" in first else None)
    rates.append(first["benign"].over_refusal if "benign" in first else None)
    cells = [escape(rate_text(rate, wide)) for rate in rates]
    verdict = entry.verdict or ""
    cells.append(f"[{COLORS[verdict]}]{verdict}[/]" if verdict else "")
    return cells


def _judges(entry: RoundStatus) -> set[str]:
    return {figures.judge for figures in entry.first_figures.values()}


def progress_bars(status: HardeningRunStatus, width: int) -> RenderableType:
    """Return a bar for every running stage, in ``width`` columns."""
    grid = Table.grid(padding=(0, 1))
    for progress in status.progress:
        bar = ProgressBar(total=1.0, completed=progress.ratio, width=max(10, min(40, width - 60)))
        eta = Text(time_left(progress), style="dim")
        grid.add_row(round_name(progress.round), progress.stage, bar, f"{progress.ratio:4.0%}", eta)
    return grid


def time_left(progress: StageProgress) -> str:
    """Return `about 3 min 20 s left`, or nothing when nobody knows."""
    return "" if progress.eta_seconds is None else f"about {duration(progress.eta_seconds)} left"


def closing_words(status: HardeningRunStatus, width: int) -> RenderableType:
    """Return the figures and the decision in words."""
    last = status.decisions[-1] if status.decisions else None
    lines = [phase_text(status.phase)]
    if last is not None:
        lines.append(Text(last.message))
    return Group(figures_table(status, width), *lines)


def phase_text(phase: Phase) -> Text:
    """Return the phase in its colour."""
    return Text(phase, style=f"bold {PHASE_COLORS.get(phase, 'yellow')}")


class LiveView:
    """A table and bars that are redrawn in place."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._title = Text(title, style="bold")

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
        width = self._console.width
        figures = figures_table(status, width, newest=ROUNDS_SHOWN_LIVE)
        self._live.update(Group(self._title, figures, progress_bars(status, width)))

    def event(self, event: Event) -> None:
        """Print the event above the table."""
        self._console.print(_event_text(event))


class PlainView:
    """One line an event and a line for every tenth of a stage, for logs and pipes."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._told: dict[tuple[int, str], int] = {}
        console.print(title, soft_wrap=True, highlight=False)

    def __enter__(self) -> Self:
        """Nothing to take."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back."""

    def update(self, status: HardeningRunStatus, observed: Observed) -> None:  # noqa: ARG002 - the View protocol
        """Print the progress of running stages, a line for every tenth."""
        for progress in status.progress:
            tenth = int(progress.ratio * 10)
            key = (progress.round, progress.stage)
            if tenth > self._told.get(key, 0):
                self._told[key] = tenth
                eta = f", {time_left(progress)}" if progress.eta_seconds is not None else ""
                line = f"{round_name(progress.round)} {progress.stage} {progress.ratio:.0%}{eta}"
                self._console.print(line, soft_wrap=True, highlight=False)

    def event(self, event: Event) -> None:
        """Print the event."""
        self._console.print(_event_text(event), soft_wrap=True)


def _event_text(event: Event) -> Text:
    return Text(f"{event.reason}: {event.message}", style="yellow" if event.type == "Warning" else "")
