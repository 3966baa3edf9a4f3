"""The `hardening` command: one module a command, registered in `main`."""

from __future__ import annotations

import sys
from types import ModuleType


def run() -> None:
    """Run the command line; the entry point of the `hardening` script."""
    _main().run()


def run_plugin() -> None:
    """Run it as kubectl does; the entry point of the `kubectl-hardening` script."""
    _main().run_plugin()


def _main() -> ModuleType:
    try:
        from hardening_operator.cli import main  # noqa: PLC0415 - may be missing
    except ModuleNotFoundError as missing:
        if missing.name not in ("typer", "rich"):
            raise
        sys.exit("hardening: not installed with its command line: pip install 'hardening-operator[cli,report]'")
    return main
