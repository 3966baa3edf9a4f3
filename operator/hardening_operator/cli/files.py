"""`hardening score` and `hardening judge`: the trainer's own programs over a JSONL file, as processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import typer

from hardening_api.stages import FINAL_EXITS
from hardening_operator.cli.exit_codes import USAGE
from hardening_operator.local.home import HomeError
from hardening_operator.local.processes import require_trainer

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def score(context: typer.Context) -> None:
    """Print direct harmfulness R of every row of FILE (prompt, preferred, dispreferred) as JSON lines."""
    _trainer("score-file", context.args)


def judge(context: typer.Context) -> None:
    """Print a verdict on every row of FILE (prompt, answer) as JSON lines."""
    _trainer("judge-file", context.args)


def _trainer(program: str, arguments: list[str]) -> None:
    try:
        require_trainer()
    except HomeError as missing:
        print(f"hardening: {missing}", file=sys.stderr)  # noqa: T201 - one line an error, for scripts
        raise typer.Exit(USAGE) from None
    command = [sys.executable, "-m", "hardening_trainer", program, *arguments]
    child = subprocess.Popen(command)  # noqa: S603 - our own program
    # Ctrl-C reaches both; the program ends of it, and with it this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: child.terminate())
    raise typer.Exit(_exit_code(child.wait()))


def _exit_code(code: int) -> int:
    """Pass on the program's exit codes for usage and data; report an end by a signal as a shell does."""
    if code in FINAL_EXITS:
        return USAGE
    return 128 - code if code < 0 else code
