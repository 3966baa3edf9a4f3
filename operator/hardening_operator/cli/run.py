"""`hardening run`: drive a run here, with local processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.console import Console

from hardening_api.run import HardeningRun
from hardening_api.status import HardeningRunStatus
from hardening_operator.cli.exit_codes import INTERRUPTED, USAGE, exit_code
from hardening_operator.cli.view import LiveView, PlainView, closing_words
from hardening_operator.documents import WrongContent, load_one
from hardening_operator.local.home import Home, HomeError
from hardening_operator.local.preflight import check, resolve_relative_uris, stage_environment
from hardening_operator.local.processes import Processes
from hardening_operator.local.runner import Runner, Stopped


def run(
    file: Path = typer.Argument(help="A HardeningRun manifest."),
    workspace: str | None = typer.Option(None, help="Folder or fsspec URL to work in; default runs/NAME."),
    plain: bool = typer.Option(False, "--plain", help="One line an event instead of a live table."),
) -> None:
    """Run FILE here, with local processes; killed at any moment, the same command goes on.

    Exit codes: 0 promoted, 3 not promoted, 4 awaiting approval, 1 failed, 2 usage.
    """
    console = Console(stderr=False)
    try:
        manifest = _single_run(file)
        home, url = _place(manifest.metadata.name, workspace)
        check(manifest, os.environ)
        with home.locked():
            status = _drive(home, home.adopt(manifest), url, console, plain)
    except HomeError as error:
        for line in str(error).splitlines():
            print(f"{file}: {line}", file=sys.stderr)  # noqa: T201 - one line an error, for scripts
        raise typer.Exit(USAGE) from None
    except Stopped:
        console.print(f"Stopped; the work is saved. The same command goes on: hardening run {file}")
        raise typer.Exit(INTERRUPTED) from None
    console.print(closing_words(status, console.width, f"Report: hardening report {home.folder}"))
    raise typer.Exit(exit_code(status))


def _single_run(file: Path) -> HardeningRun:
    try:
        manifest = load_one(file, HardeningRun)
    except WrongContent as fault:
        raise HomeError(str(fault)) from None
    document = resolve_relative_uris(manifest.to_document(), file.resolve().parent)
    return HardeningRun.model_validate(document)


def _place(name: str, workspace: str | None) -> tuple[Home, str]:
    """Return where status and logs go, and the workspace's URL; a remote workspace keeps its status in runs/NAME."""
    if workspace is None or "://" not in workspace:
        folder = Path(workspace or f"runs/{name}").resolve()
        return Home(folder), f"file://{folder}"
    if workspace.startswith("file://"):
        folder = Path(workspace.removeprefix("file://")).resolve()
        return Home(folder), f"file://{folder}"
    if not workspace.startswith("s3://"):
        raise HomeError(f"--workspace: got {workspace}: expected a folder, a file:// or an s3:// URL")
    return Home(Path(f"runs/{name}").resolve()), workspace


def _drive(home: Home, manifest: HardeningRun, url: str, console: Console, plain: bool) -> HardeningRunStatus:
    asked: list[int] = []
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _frame: asked.append(number))
    view_type = PlainView if plain or not console.is_terminal else LiveView
    title = f"{manifest.metadata.name}  {manifest.spec.model.uri}  logs in {home.folder / 'embedded'}"
    with view_type(console, title) as view:
        runner = Runner(home, manifest, url, Processes(stage_environment()), view)
        return runner.drive(clock=lambda: datetime.now(UTC), sleep=time.sleep, stop=lambda: bool(asked))
