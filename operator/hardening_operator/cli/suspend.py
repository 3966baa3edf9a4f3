"""`hardening suspend` and `hardening resume`: pause and resume a run of the cluster."""

from __future__ import annotations

import typer

from hardening_api.status import TERMINAL_PHASES
from hardening_operator.cli.run_lookup import ClusterRunArgument, faults_told, in_cluster, refuse


def suspend(called: typer.Context, run: ClusterRunArgument) -> None:
    """Suspend RUN: its running stages save and end, and none starts until it is resumed."""
    _set(called, run, True)


def resume(called: typer.Context, run: ClusterRunArgument) -> None:
    """Resume RUN: stopped stages continue from what they saved."""
    _set(called, run, False)


def _set(called: typer.Context, name: str, wanted: bool) -> None:
    word = "suspended" if wanted else "resumed"
    with faults_told():
        subject = in_cluster(called, name)
        phase = subject.status.phase
        if phase in TERMINAL_PHASES:
            refuse(f"{name}: got phase {phase}: expected a run that has not ended: it stays as it is")
        if subject.cluster is None or subject.run.spec.suspend == wanted:
            typer.echo(f"hardeningrun.hardening.dev/{name} is {word} already")
            return
        subject.cluster.merge("hardeningruns", name, {"spec": {"suspend": wanted}})
        typer.echo(f"hardeningrun.hardening.dev/{name} {word}")
        typer.echo(f"Next: {subject.command('status' if wanted else 'watch')}")
