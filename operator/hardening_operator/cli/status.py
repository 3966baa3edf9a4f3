"""`hardening status` and `hardening approve`: read a run's status, decide on its candidate."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from hardening_operator.cli.exit_codes import USAGE
from hardening_operator.cli.view import figures_table, time_left
from hardening_operator.local.home import Home, HomeError, write_json


def status(
    folder: Path = typer.Argument(help="Folder of a run."),
    as_json: bool = typer.Option(False, "--json", help="Print the status document."),
) -> None:
    """Show where the run in FOLDER stands."""
    home = Home(folder)
    try:
        run = home.load_run()
    except HomeError as error:
        print(error, file=sys.stderr)  # noqa: T201 - one line an error, for scripts
        raise typer.Exit(USAGE) from None
    document = home.load_status()
    if as_json:
        print(json.dumps(document.to_document(), indent=1))  # noqa: T201 - for scripts
        return
    console = Console()
    console.print(Text(f"{run.metadata.name}: {document.phase}, round {document.round} of {run.spec.rounds}"))
    console.print(figures_table(document, console.width))
    for condition in document.conditions:
        console.print(f"{condition.type}={condition.status} {condition.reason}: {condition.message}", highlight=False)
    for progress in document.progress:
        eta = f", {time_left(progress)}" if progress.eta_seconds is not None else ""
        console.print(f"round {progress.round} {progress.stage} {progress.ratio:.0%}{eta}", highlight=False)


def approve(
    folder: Path = typer.Argument(help="Folder of a run that awaits approval."),
    digest: str = typer.Option(help="Digest of the candidate, as `hardening status` names it."),
    approver: str = typer.Option("", help="Who decides; the default is your login name."),
    reject: bool = typer.Option(False, "--reject", help="Reject instead."),
) -> None:
    """Approve (or reject) the candidate of the run in FOLDER; run it again to go on."""
    home = Home(folder)
    current = home.load_status()
    waiting = {entry.candidate for entry in current.rounds if entry.candidate}
    if current.phase != "AwaitingApproval" or digest not in waiting:
        wanted = "AwaitingApproval and a digest among its candidates"
        message = f"{folder}: got phase {current.phase} and digest {digest}: expected {wanted}"
        print(message, file=sys.stderr)  # noqa: T201 - one line an error, for scripts
        raise typer.Exit(USAGE)
    record = {
        "digest": digest,
        "decision": "Rejected" if reject else "Approved",
        "approver": approver or getpass.getuser(),
        "time": datetime.now(UTC).isoformat(),
    }
    write_json(folder / "approval.json", record)
    Console().print(f"{record['decision']} by {record['approver']}. Go on with the same `hardening run` command.")
