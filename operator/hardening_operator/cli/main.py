"""The `hardening` command line. A command's module is loaded when it is called, so that `--help` answers at once."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup


class Entry(NamedTuple):
    """Where a command's function is, and its line in `--help`."""

    module: str
    summary: str
    takes_any_option: bool = False


# Each function has the name of its command.
COMMANDS = {
    "run": Entry("run", "Run a manifest here, with local processes; the same command goes on after a stop."),
    "validate": Entry("validate", "Check manifests offline: one line per error."),
    "status": Entry("status", "Show where a run stands."),
    "approve": Entry("status", "Approve or reject the candidate of a run that waits for a person."),
    "report": Entry("report", "Write a run's report as one HTML page."),
    "score": Entry("files", "Direct harmfulness R of each row of a file.", takes_any_option=True),
    "judge": Entry("files", "A judge's verdict on each row of a file.", takes_any_option=True),
}


class LazyCommands(TyperGroup):
    """The commands of the table, loaded one at a time."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  (Typer's signature)
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  (Typer's signature)
        """Load the module of one command; None when there is no such command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"hardening_operator.cli.{entry.module}")
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        settings = module.PASS_THROUGH if entry.takes_any_option else None
        single.command(name=cmd_name, context_settings=settings)(getattr(module, cmd_name))
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  (Typer's signature)
        """Write the list of commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


app = typer.Typer(
    name="hardening",
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
