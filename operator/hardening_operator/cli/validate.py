"""`hardening validate`: says what is wrong in manifests, as the cluster would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Manifests, YAML or JSON.", show_default=False)
    ],
) -> None:
    """Check manifests of every kind offline: one line per error, exit code 2 when there is one."""
    from hardening_operator.documents import load_objects, named  # noqa: PLC0415  (late: pydantic would slow `--help` down)

    faulty = False
    for file in files:
        objects, errors = load_objects(file)
        for found in objects:
            typer.echo(f"{file}: {named(found)} is valid")
        for error in errors:
            typer.echo(f"{file}: {error}", err=True)
        faulty = faulty or bool(errors)
    if faulty:
        raise typer.Exit(2)
