"""`hardening score` and `hardening judge`: the trainer's own programs over a JSONL file, as processes of their own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import typer

from hardening_operator.cli.exit_codes import USAGE

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def score(context: typer.Context) -> None:
    """Print direct harmfulness R of every row of FILE (prompt, preferred, dispreferred) as JSON lines."""
    _trainer("score-file", context.args)


def judge(context: typer.Context) -> None:
    """Print a verdict on every row of FILE (prompt, answer) as JSON lines."""
    _trainer("judge-file", context.args)


def _trainer(program: str, arguments: list[str]) -> None:
    if importlib.util.find_spec("torch") is None:
        message = "this command reads models: install it with `pip install 'hardening-operator[trainer]'`"
        print(message, file=sys.stderr)  # noqa: T201 - one line an error, for scripts
        raise typer.Exit(USAGE)
    command = [sys.executable, "-m", "hardening_trainer", program, *arguments]
    done = subprocess.run(command, check=False)  # noqa: S603 - our own program
    raise typer.Exit(USAGE if done.returncode in (64, 65) else done.returncode)
