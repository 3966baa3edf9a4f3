"""The `hardening` command line. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from hardening_operator.cli import files, report, status, validate
from hardening_operator.cli import run as run_command

app = typer.Typer(
    name="hardening", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
app.command()(run_command.run)
app.command()(validate.validate)
app.command()(status.status)
app.command()(status.approve)
app.command()(report.report)
app.command(context_settings=files.PASS_THROUGH)(files.score)
app.command(context_settings=files.PASS_THROUGH)(files.judge)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hardening {version('hardening-operator')}")
        raise typer.Exit


@app.callback()
def hardening(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Harden instruct models against adversarial prompts with Adversarial Preference Learning."""


def run() -> None:
    """Run the command line; the entry point of the `hardening` script."""
    app()
