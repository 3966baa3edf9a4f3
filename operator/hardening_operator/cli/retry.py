"""`hardening retry`: a new run of the same spec, after one that failed or was not promoted.

A run that has ended stays as it is: its figures are a record. So a retry is a run of its own, `NAME-retry-1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from hardening_api.run import HardeningRun
from hardening_operator.cli.kube.faults import ConflictFault
from hardening_operator.cli.run_lookup import ClusterRunArgument, faults_told, in_cluster, refuse
from hardening_operator.cli.status import written

RETRY_OF = "hardening.dev/retry-of"
NOT_COPIED = "kubectl.kubernetes.io/last-applied-configuration"
NAME_LENGTH = 52
TRIES = 5


def retry(
    called: typer.Context,
    run: ClusterRunArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the new run as YAML, and create nothing.")] = False,
) -> None:
    """Create a new run from the spec of RUN, which failed or was not promoted; RUN itself stays as a record.

    To change something first:  kubectl hardening retry RUN --dry-run > new.yaml
    """
    with faults_told():
        located = in_cluster(called, run)
        phase = located.status.phase
        if phase not in ("Failed", "NotPromoted") or located.cluster is None:
            refuse(f"{run}: got phase {phase}: expected Failed or NotPromoted: only such a run is tried again")
        for _ in range(TRIES):
            taken = [found["metadata"]["name"] for found in located.cluster.list("hardeningruns")]
            document = retried(located.document, taken)
            if dry_run:
                typer.echo(written(document, "yaml"))
                return
            try:
                located.cluster.create("hardeningruns", document)
            except ConflictFault:
                continue  # someone else retries as well: take the next number
            break
        else:
            refuse(f"{run}: {TRIES} other retries came first: look at `kubectl get hardeningruns`")
        name = document["metadata"]["name"]
        typer.echo(f"hardeningrun.hardening.dev/{name} created, from the spec of {run}")
        typer.echo(what_is_reused(located.run, name))
        typer.echo(f"Next: {located.program} watch {name} {located.cluster.options}")


def retried(document: dict[str, Any], taken: Iterable[str]) -> dict[str, Any]:
    """Return a new run with the spec of ``document``, named by the next free number; it is not suspended."""
    metadata = document["metadata"]
    annotations = {name: text for name, text in (metadata.get("annotations") or {}).items() if name != NOT_COPIED}
    copied = {"labels": metadata["labels"]} if metadata.get("labels") else {}
    return {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "metadata": {
            "name": next_name(metadata["name"], taken),
            "namespace": metadata["namespace"],
            **copied,
            "annotations": {**annotations, RETRY_OF: metadata["name"]},
        },
        "spec": {**document["spec"], "suspend": False},
    }


def next_name(name: str, taken: Iterable[str]) -> str:
    """Return `NAME-retry-N`, N one more than the highest there is; a retry of a retry counts on."""
    base = re.sub(r"-retry-\d+$", "", name)
    stem = base[: NAME_LENGTH - len("-retry-9999")].rstrip("-")
    numbers = [int(found[1]) for other in taken if (found := re.fullmatch(rf"{re.escape(stem)}-retry-(\d+)", other))]
    return f"{stem}-retry-{max(numbers, default=0) + 1}"


def what_is_reused(run: HardeningRun, name: str) -> str:
    """Say what the new run takes over of the old one's work: nothing, and where that stays."""
    workspace = run.spec.workspace
    old = run.metadata.name
    if workspace.s3 is not None:
        where = f"it works in {workspace.s3.uri.rstrip('/')}/{name}; {old}'s work stays in its own folder beside it"
    elif workspace.persistent_volume_claim is not None and workspace.persistent_volume_claim.claim_name is not None:
        claim = workspace.persistent_volume_claim.claim_name
        where = (
            f"it works in folder {name} of claim {claim}; {old}'s work stays in folder {old}: see that there is room"
        )
    else:
        where = f"it gets a claim of its own, {name}-workspace; {old}'s stays until {old} is deleted"
    return f"It starts from the beginning and reuses no stage: {where}."
