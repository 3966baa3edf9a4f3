"""The workspace as pods see it: a claim, given or created, or a bucket. Runs have one, and monitors without a run."""

from __future__ import annotations

from typing import Any

from hardening_api.monitor import HardeningMonitor
from hardening_api.run import ClaimTemplate, HardeningRun, Workspace
from hardening_operator.planner.names import (
    claim_name,
    monitor_claim_name,
    namespace_of,
    owner_reference,
    workspace_labels,
)
from hardening_operator.settings import OperatorSettings

MOUNT = "/workspace"
Holder = HardeningRun | HardeningMonitor
"""Whose workspace it is."""


def workspace_of(holder: Holder) -> Workspace:
    """Return what a run or monitor says of its workspace."""
    return holder.spec.workspace or Workspace()


def workspace_url(holder: Holder) -> str:
    """Return the fsspec URL of a workspace inside its pods.

    A claim created for the run is its own; in a given claim and in a bucket it has a folder of its name.
    """
    workspace = workspace_of(holder)
    if workspace.s3 is not None:
        return f"{workspace.s3.uri.rstrip('/')}/{holder.metadata.name}"
    given = workspace.persistent_volume_claim
    if given is not None and given.claim_name is not None:
        return f"file://{MOUNT}/{holder.metadata.name}"
    return f"file://{MOUNT}"


def mounted_claim(holder: Holder) -> str | None:
    """Return the name of the claim that pods mount; None where the workspace is a bucket."""
    workspace = workspace_of(holder)
    if workspace.s3 is not None:
        return None
    given = workspace.persistent_volume_claim
    return (given.claim_name if given is not None else None) or _own_claim(holder)


def on_one_node(holder: Holder, settings: OperatorSettings) -> bool:
    """Return whether the workspace can be mounted on one node only, so that all pods must go there."""
    return mounted_claim(holder) is not None and _template(holder, settings).access_mode == "ReadWriteOnce"


def shared_workspace(run: HardeningRun, settings: OperatorSettings) -> Workspace | None:
    """Return the workspace of a run that reads what ``run`` left; None where its spec says the same already."""
    claim = mounted_claim(run)
    if claim is None:
        return None
    mode = _template(run, settings).access_mode
    return Workspace(persistent_volume_claim=ClaimTemplate(claim_name=claim, access_mode=mode))


def claims(holder: Holder, settings: OperatorSettings) -> list[dict[str, Any]]:
    """Return the claim to create; nothing where one is given or the workspace is a bucket."""
    template = _template(holder, settings)
    if mounted_claim(holder) is None or template.claim_name is not None:
        return []
    spec: dict[str, Any] = {
        "accessModes": [template.access_mode],
        "resources": {"requests": {"storage": str(template.size)}},
    }
    if template.storage_class_name is not None:
        spec["storageClassName"] = template.storage_class_name
    metadata = {
        "name": _own_claim(holder),
        "namespace": namespace_of(holder),
        "labels": workspace_labels(holder),
        "ownerReferences": [owner_reference(holder)],
    }
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}]


def _template(holder: Holder, settings: OperatorSettings) -> ClaimTemplate:
    """The claim that is asked for, or the one the operator makes where nothing is."""
    return workspace_of(holder).persistent_volume_claim or ClaimTemplate.model_validate(
        {
            "size": settings.workspace_size,
            "storageClassName": settings.workspace_storage_class or None,
            "accessMode": settings.workspace_access_mode,
        }
    )


def _own_claim(holder: Holder) -> str:
    name = holder.metadata.name
    return claim_name(name) if isinstance(holder, HardeningRun) else monitor_claim_name(name)
