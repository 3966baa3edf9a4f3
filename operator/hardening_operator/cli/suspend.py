"""`hardening suspend` and `hardening resume`: stop and go on with a run of the cluster."""

from __future__ import annotations

import typer

from hardening_api.status import TERMINAL_PHASES
from hardening_operator.cli.run_lookup import ClusterRunArgument, faults_told, in_cluster, refuse


def suspend(called: typer.Context, run: ClusterRunArgument) -> None:
    """Suspend RUN: its running stages save and end, and none starts until it is resumed."""
    _set(called, run, True)


def resume(called: typer.Context, run: ClusterRunArgument) -> None:
    """Resume RUN: stopped stages go on from what they saved."""
    _set(called, run, False)


def _set(called: typer.Context, name: str, wanted: bool) -> None:
    word = "suspended" if wanted else "resumed"
    with faults_told():
        located = in_cluster(called, name)
        phase = located.status.phase
        if phase in TERMINAL_PHASES:
            refuse(f"{name}: got phase {phase}: expected a run that has not ended: it stays as it is")
        if located.cluster is None or located.run.spec.suspend == wanted:
            typer.echo(f"hardeningrun.hardening.dev/{name} is {word} already")
            return
        located.cluster.merge("hardeningruns", name, {"spec": {"suspend": wanted}})
        typer.echo(f"hardeningrun.hardening.dev/{name} {word}")
        typer.echo(f"Next: {located.command('status' if wanted else 'watch')}")
