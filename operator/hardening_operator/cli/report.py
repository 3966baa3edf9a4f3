"""`hardening report`: write a run's HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from hardening_operator.cli.run_lookup import RunArgument, faults_told, find_run, refuse
from hardening_operator.local.home import Home
from hardening_operator.local.observe import agreement_by_round


def report(
    called: typer.Context,
    run: RunArgument,
    output: Path | None = typer.Option(
        None, "--output", "-o", help="The page; default FOLDER/report.html, or RUN.html for one in the cluster."
    ),
    include_text: bool = typer.Option(
        False, "--include-text", help="Add prompts and answers, of a run in a folder. They may be harmful."
    ),
) -> None:
    """Write one self-contained HTML page of RUN: figures with intervals, plots, the decision in words.

    Of a run in the cluster it shows what the resource's status holds: figures only.
    """
    try:
        from hardening_operator.report.build import (  # noqa: PLC0415 - matplotlib is slow
            build_page,
            write_page,
        )
    except ModuleNotFoundError as missing:
        refuse(f"{missing.name} is not installed: pip install 'hardening-operator[report]'")
    from hardening_operator.report.text import read_answers  # noqa: PLC0415

    with faults_told():
        located = find_run(called, run)
        if located.folder is not None:
            rows: list[dict[str, Any]] | None = read_answers(located.folder) if include_text else None
            histograms = agreement_by_round(Home(located.folder), located.status)
            made = build_page(located.run, located.status, histograms, rows)
            page = write_page(made, output or located.folder / "report.html")
        elif include_text:
            refuse("--include-text: the cluster's resources hold no text: read it in the workspace")
        else:
            page = write_page(
                build_page(located.run, located.status), output or Path(f"{located.run.metadata.name}.html")
            )
    Console().print(f"Wrote {page}", soft_wrap=True, highlight=False)
