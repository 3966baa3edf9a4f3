"""`hardening approve` and `hardening reject`: decide on the candidate of a run that waits for a person."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hardening_api.approval import PromotionApproval, PromotionApprovalSpec
from hardening_api.base import ObjectMeta
from hardening_operator.cli.render.status_page import awaited
from hardening_operator.cli.run_lookup import LocatedRun, RunArgument, faults_told, find_run, refuse
from hardening_operator.local.home import write_json

if TYPE_CHECKING:
    from hardening_operator.cli.kube.api import Cluster

Decision = Literal["Approved", "Rejected"]
Digest = Annotated[str, typer.Option(help="Digest of the candidate, as `status` shows it.")]
Approver = Annotated[str, typer.Option(help="Who decides, for a run in a folder; the default is your login name.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the record; for a run in the cluster.")]
NAME_LENGTH = 52


def approve(
    called: typer.Context,
    run: RunArgument,
    digest: Digest,
    approver: Approver = "",
    reason: Reason = None,
    reject: Annotated[bool, typer.Option("--reject", help="Reject instead.")] = False,
) -> None:
    """Approve (or reject) the candidate that RUN awaits a decision on. Any other digest is refused.

    In the cluster this writes a PromotionApproval in your own name, as the cluster knows you. A run in a folder goes
    on when the same `hardening run` command is given again.
    """
    _decide(called, run, digest, "Rejected" if reject else "Approved", approver, reason)


def reject(
    called: typer.Context, run: RunArgument, digest: Digest, approver: Approver = "", reason: Reason = None
) -> None:
    """Reject the candidate that RUN awaits a decision on: the run ends as not promoted."""
    _decide(called, run, digest, "Rejected", approver, reason)


def _decide(
    called: typer.Context, name: str, digest: str, decision: Decision, approver: str, reason: str | None
) -> None:
    with faults_told():
        located = find_run(called, name)
        candidate = awaited(located.status)
        if candidate is None or digest != candidate:
            refuse(f"{name}: {_not_asked(located, digest, candidate)}")
        if located.folder is not None:
            _write_record(located.folder, digest, decision, approver)
        elif located.cluster is not None:
            if approver:
                refuse("--approver: the cluster knows who you are: leave it out")
            _write_approval(located, located.cluster, digest, decision, reason)


def _not_asked(located: LocatedRun, digest: str, candidate: str | None) -> str:
    phase = located.status.phase
    wanted = "AwaitingApproval" if candidate is None else f"the candidate that is asked about, {candidate}"
    return f"got phase {phase} and digest {digest}: expected {wanted}"


def _write_record(folder: Path, digest: str, decision: Decision, approver: str) -> None:
    name = approver or getpass.getuser()
    record = {"digest": digest, "decision": decision, "approver": name, "time": datetime.now(UTC).isoformat()}
    write_json(folder / "approval.json", record)
    typer.echo(f"{decision} by {name}. To continue, rerun the same `hardening run` command.")


def _write_approval(located: LocatedRun, cluster: Cluster, digest: str, decision: Decision, reason: str | None) -> None:
    """Create a PromotionApproval, unless the newest about this candidate says the same already."""
    run = located.run.metadata.name
    earlier = _earlier(cluster, run, digest)
    if earlier and earlier[-1]["spec"].get("decision", "Approved") == decision:
        typer.echo(f"{decision} before, by {earlier[-1]['spec']['approver']}: {earlier[-1]['metadata']['name']}")
        return
    approval = PromotionApproval(
        metadata=ObjectMeta(name=approval_name(run, digest, len(earlier) + 1), namespace=cluster.namespace),
        spec=PromotionApprovalSpec(
            run=run, candidate=digest, decision=decision, approver=cluster.caller(), reason=reason
        ),
    )
    stored = cluster.create("promotionapprovals", approval.to_document())
    typer.echo(f"{decision} by {stored['spec']['approver']}: promotionapproval.hardening.dev/{approval.metadata.name}")
    typer.echo(f"Next: {located.command('watch')}")


def _earlier(cluster: Cluster, run: str, digest: str) -> list[dict[str, Any]]:
    """Return the approvals that speak of this candidate, the oldest first."""
    about = [
        a for a in cluster.list("promotionapprovals") if (a["spec"]["run"], a["spec"]["candidate"]) == (run, digest)
    ]
    return sorted(
        about, key=lambda approval: (approval["metadata"].get("creationTimestamp", ""), approval["metadata"]["name"])
    )


def approval_name(run: str, digest: str, number: int) -> str:
    """Return the name of the ``number``-th decision on a candidate; the same for whoever asks."""
    end = f"-{digest.removeprefix('sha256:')[:8]}-{number}"
    return run[: NAME_LENGTH - len(end)].rstrip("-") + end
