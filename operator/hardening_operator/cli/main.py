"""The `hardening` command line. A command's module is loaded when it is called, so that `--help` answers at once."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from hardening_operator.cli.options import PLUGIN, with_cluster_options


class Entry(NamedTuple):
    """Where a command's function is, and its line in `--help`."""

    module: str
    summary: str
    takes_any_option: bool = False
    is_about_runs: bool = True
    """A run may be in a cluster: the command has -n, --context and --kubeconfig."""


# Each function has the name of its command.
COMMANDS = {
    "run": Entry("run", "Run a manifest here, with local processes; with --cluster, apply and follow it."),
    "validate": Entry("validate", "Check manifests offline: one line per error.", is_about_runs=False),
    "status": Entry("status", "Show where a run stands, and what to do next."),
    "watch": Entry("watch", "Follow a run of the cluster to its end."),
    "logs": Entry("logs", "Print the logs of a stage's pods."),
    "report": Entry("report", "Write a run's report as one HTML page."),
    "approve": Entry("approve", "Approve the candidate of a run that waits for a person."),
    "reject": Entry("approve", "Reject it."),
    "suspend": Entry("status", "Suspend a run of the cluster; its stages save."),
    "resume": Entry("status", "Resume it."),
    "retry": Entry("retry", "Start a new run from one that failed or was not promoted."),
    "diff": Entry("diff", "Compare two runs: specs, and figures with intervals."),
    "monitor": Entry("monitor", "Attack a promoted or served model again, report a regression.", is_about_runs=False),
    "score": Entry("files", "Direct harmfulness R of each row of a file.", takes_any_option=True, is_about_runs=False),
    "judge": Entry("files", "A judge's verdict on each row of a file.", takes_any_option=True, is_about_runs=False),
}


class LazyCommands(TyperGroup):
    """The commands of the table, loaded one at a time."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        with_cluster_options(self)

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
        command = typer.main.get_command(single)
        return with_cluster_options(command) if entry.is_about_runs else command

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
    """Harden instruct models against adversarial prompts with Adversarial Preference Learning.

    RUN is a folder when it has a / or a folder of that name is here; else it is a HardeningRun in the cluster of your
    kubeconfig file. With -n, --context or --kubeconfig, and as `kubectl hardening`, it is always one in the cluster.
    """


def run() -> None:
    """Run the command line."""
    app()


def run_plugin() -> None:
    """Run it as kubectl does: a name is always one in the cluster."""
    app(prog_name=PLUGIN)
