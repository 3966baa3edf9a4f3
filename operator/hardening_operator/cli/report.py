"""`hardening report`: write a run's HTML page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from hardening_operator.cli.exit_codes import USAGE
from hardening_operator.local.home import HomeError


def report(
    folder: Path = typer.Argument(help="Folder of a run."),
    output: Path | None = typer.Option(None, "--output", "-o", help="The page; default FOLDER/report.html."),
    include_text: bool = typer.Option(False, "--include-text", help="Add prompts and answers. They may be harmful."),
) -> None:
    """Write one self-contained HTML page of the run in FOLDER: figures with intervals, plots, the decision in words."""
    from hardening_operator.report.build import write_report  # noqa: PLC0415 - matplotlib is slow to import
    from hardening_operator.report.text import read_answers  # noqa: PLC0415

    try:
        rows: list[dict[str, Any]] | None = read_answers(folder) if include_text else None
        page = write_report(folder, output or folder / "report.html", rows)
    except HomeError as error:
        print(error, file=sys.stderr)  # noqa: T201 - one line an error, for scripts
        raise typer.Exit(USAGE) from None
    Console().print(f"Wrote {page}", soft_wrap=True, highlight=False)
