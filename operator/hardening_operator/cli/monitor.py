"""`hardening monitor`: attack a promoted or served model again here, with local processes."""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from hardening_api.monitor import CheckRecord, HardeningMonitor, HardeningMonitorStatus
from hardening_api.status import Rate
from hardening_operator.cli.exit_codes import INTERRUPTED, USAGE
from hardening_operator.documents import WrongContent, load_one
from hardening_operator.local.home import HomeError
from hardening_operator.local.monitor import Interrupted, MonitorHome, MonitorShell, known_runs
from hardening_operator.local.preflight import resolve_relative_uris, stage_environment
from hardening_operator.local.processes import Processes
from hardening_operator.planner.schedule import NeverDue, Schedule
from hardening_operator.planner.types import Event

NO_REGRESSION, REGRESSED, COULD_NOT_TELL = 0, 5, 6
SHOWN_TIMES = 3


def monitor(
    file: Path = typer.Argument(help="A HardeningMonitor manifest."),
    once: bool = typer.Option(False, "--once", help="Check once, now, and exit."),
    runs: Path = typer.Option(Path("runs"), help="Folder that holds the folders of `hardening run`."),
    workspace: str | None = typer.Option(None, help="URL of the run's workspace, if it is not its folder."),
    folder: Path | None = typer.Option(None, help="Folder of the monitor; default monitors/NAME."),
) -> None:
    """Attack the target of FILE again, now or at the times of its schedule, and report whether it has regressed.

    Exit codes of --once: 0 no regression, 5 regressed, 6 could not tell, 2 usage.
    """
    console = Console()
    try:
        manifest = _load(file, runs)
        home = MonitorHome(folder or Path("monitors") / manifest.metadata.name)
        with home.locked():
            seen = len(home.load_status().history)
            if not once:
                _print_times(console, manifest)
            status = _drive(home, manifest, runs, workspace, once, console)
    except (HomeError, WrongContent, ValidationError, NeverDue) as error:
        for line in str(error).splitlines():
            print(f"{file}: {line}", file=sys.stderr)  # noqa: T201 - one line an error, for scripts
        raise typer.Exit(USAGE) from None
    except Interrupted:
        console.print(f"Stopped; the work is saved. To resume: hardening monitor {file}")
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(_tell(console, home, status, seen))


def _load(file: Path, runs: Path) -> HardeningMonitor:
    found = load_one(file, HardeningMonitor)
    name = found.spec.run
    if name is not None and name not in known_runs(runs):
        known = ", ".join(known_runs(runs)) or "none"
        raise HomeError(f"spec: got run {name}: expected the name of a run in {runs} ({known}): give --runs")
    document = found.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    header = {"apiVersion": found.api_version, "kind": found.kind}
    return HardeningMonitor.model_validate(resolve_relative_uris(header | document, file.resolve().parent))


def _drive(
    home: MonitorHome, manifest: HardeningMonitor, runs: Path, workspace: str | None, once: bool, console: Console
) -> HardeningMonitorStatus:
    asked: list[int] = []
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _frame: asked.append(number))

    def tell(event: Event) -> None:
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        console.print(f"{stamp} {event.reason}: {event.message}", highlight=False, markup=False, soft_wrap=True)

    shell = MonitorShell(home, manifest, runs, Processes(stage_environment()), tell, workspace)
    return shell.drive(once, lambda: datetime.now(UTC), time.sleep, lambda: bool(asked))


def _print_times(console: Console, manifest: HardeningMonitor) -> None:
    schedule = Schedule(manifest.spec.schedule, manifest.spec.time_zone)
    time_now = datetime.now(UTC)
    console.print(
        f"{manifest.metadata.name}: {manifest.spec.schedule} in {manifest.spec.time_zone}; next checks (UTC):"
    )
    for _ in range(SHOWN_TIMES):
        time_now = schedule.next_after(time_now)
        console.print(f"  {time_now:%Y-%m-%d %H:%M}", highlight=False)


def _tell(console: Console, home: MonitorHome, status: HardeningMonitorStatus, seen: int) -> int:
    """Print what the check found; return the exit code."""
    conditions = {condition.type: condition for condition in status.conditions}
    last = status.history[-1] if status.history else None
    if last is None or (len(status.history) == seen and conditions["Ready"].status != "True"):
        why = conditions["Suspended"] if conditions["Suspended"].status == "True" else conditions["Ready"]
        console.print(f"No check: {why.reason}: {why.message}", highlight=False, markup=False)
        return COULD_NOT_TELL
    console.print(_figures(last))
    console.print(f"{last.verdict}: {last.reason}: {last.message}", highlight=False, markup=False, soft_wrap=True)
    regressed = conditions["Regressed"]
    console.print(f"Regressed={regressed.status}: {regressed.message}", highlight=False, markup=False, soft_wrap=True)
    for rerun in status.reruns:
        if rerun.phase in (None, "Pending"):
            console.print(f"Harden again: hardening run {home.rerun(rerun.name)}", highlight=False)
    if last.verdict == "Inconclusive":
        return COULD_NOT_TELL
    return REGRESSED if regressed.status == "True" else NO_REGRESSION


def _figures(record: CheckRecord) -> Table:
    table = Table(title=record.name, title_justify="left")
    for name in ("set", "judge", "harm rate", "change", "n"):
        table.add_column(name)
    changes = {(change.set, change.judge): change.change for change in record.changes}
    for figures in record.figures:
        if figures.harm_rate is not None:
            change = next((found for key, found in changes.items() if key == (figures.set, figures.judge)), None)
            row = (_rate(figures.harm_rate), _rate(change), str(figures.harm_rate.samples))
            table.add_row(figures.set, figures.judge, *row)
    return table


def _rate(rate: Rate | None) -> str:
    return "" if rate is None else f"{rate.value:.3f} [{rate.lower:.3f}, {rate.upper:.3f}]"
