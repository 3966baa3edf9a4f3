"""`hardening status`, `suspend` and `resume`: where a run stands; pausing and resuming it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
import yaml
from rich.console import Console

from hardening_api.status import TERMINAL_PHASES
from hardening_operator.cli.kube.faults import ClusterFault
from hardening_operator.cli.render.status_page import show
from hardening_operator.cli.run_lookup import (
    ClusterRunArgument,
    LocatedRun,
    RunArgument,
    faults_told,
    find_run,
    in_cluster,
    refuse,
)

Output = Literal["json", "yaml", "name"]


def status(
    called: typer.Context,
    run: RunArgument,
    output: Annotated[Output | None, typer.Option("--output", "-o", help="The whole resource, for scripts.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status document alone.")] = False,
) -> None:
    """Show where RUN stands: phase, figures with intervals, stages, conditions, events, and what to do next."""
    with faults_told():
        located = find_run(called, run)
        if as_json:
            typer.echo(json.dumps(located.status.to_document(), indent=1))
        elif output is not None:
            typer.echo(written(located.document, output))
        else:
            show(Console(), located, _events(located), datetime.now(UTC))


def written(document: dict[str, Any], output: Output) -> str:
    """Return a resource as text."""
    match output:
        case "json":
            return json.dumps(document, indent=2)
        case "yaml":
            return yaml.safe_dump(document, sort_keys=False).rstrip()
        case _:
            return f"hardeningrun.hardening.dev/{document['metadata']['name']}"


def _events(located: LocatedRun) -> list[dict[str, Any]]:
    """Return the cluster's events about the run; none when the caller may not see them."""
    if located.cluster is None:
        return []
    about = f"involvedObject.kind=HardeningRun,involvedObject.name={located.run.metadata.name}"
    try:
        found = located.cluster.list("events", fieldSelector=about)
    except ClusterFault:
        return []
    return [event for event in found if event["involvedObject"].get("uid") == located.run.metadata.uid]


def suspend(called: typer.Context, run: ClusterRunArgument) -> None:
    """Suspend RUN: its running stages save and end, and none starts until it is resumed."""
    _set(called, run, True)


def resume(called: typer.Context, run: ClusterRunArgument) -> None:
    """Resume RUN: stopped stages continue from what they saved."""
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
