"""`hardening status`: where a run stands."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
import yaml
from rich.console import Console

from hardening_operator.cli.kube.faults import ClusterFault
from hardening_operator.cli.render.status_page import show
from hardening_operator.cli.run_lookup import RunArgument, Subject, faults_told, find_run

Output = Literal["json", "yaml", "name"]


def status(
    called: typer.Context,
    run: RunArgument,
    output: Annotated[Output | None, typer.Option("--output", "-o", help="The whole resource, for scripts.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status document alone.")] = False,
) -> None:
    """Show where RUN stands: phase, figures with intervals, stages, conditions, events, and what to do next."""
    with faults_told():
        subject = find_run(called, run)
        if as_json:
            typer.echo(json.dumps(subject.status.to_document(), indent=1))
        elif output is not None:
            typer.echo(written(subject.document, output))
        else:
            show(Console(), subject, _events(subject), datetime.now(UTC))


def written(document: dict[str, Any], output: Output) -> str:
    """Return a resource as text."""
    match output:
        case "json":
            return json.dumps(document, indent=2)
        case "yaml":
            return yaml.safe_dump(document, sort_keys=False).rstrip()
        case _:
            return f"hardeningrun.hardening.dev/{document['metadata']['name']}"


def _events(subject: Subject) -> list[dict[str, Any]]:
    """Return the cluster's events about the run; none when the caller may not see them."""
    if subject.cluster is None:
        return []
    about = f"involvedObject.kind=HardeningRun,involvedObject.name={subject.run.metadata.name}"
    try:
        found = subject.cluster.list("events", fieldSelector=about)
    except ClusterFault:
        return []
    return [event for event in found if event["involvedObject"].get("uid") == subject.run.metadata.uid]
