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
    # Late: pydantic would slow `--help` down.
    from hardening_api.run import HardeningRun  # noqa: PLC0415
    from hardening_operator.documents import load_objects, named  # noqa: PLC0415
    from hardening_operator.planner.gates import gate_warnings  # noqa: PLC0415

    faulty = False
    for file in files:
        objects, errors = load_objects(file)
        for found in objects:
            typer.echo(f"{file}: {named(found)} is valid")
            for warning in gate_warnings(found.spec) if isinstance(found, HardeningRun) else ():
                typer.echo(f"{file}: warning: {warning}", err=True)
        for error in errors:
            typer.echo(f"{file}: {error}", err=True)
        faulty = faulty or bool(errors)
    if faulty:
        raise typer.Exit(2)
