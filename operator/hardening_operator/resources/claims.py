"""The workspace as pods see it: a claim, given or created, or a bucket."""

from __future__ import annotations

from typing import Any

from hardening_api.run import ClaimTemplate, HardeningRun
from hardening_operator.resources.names import claim_name, metadata, run_labels
from hardening_operator.settings import OperatorSettings

MOUNT = "/workspace"


def workspace_url(run: HardeningRun) -> str:
    """Return the fsspec URL of a run's workspace inside its pods.

    A claim created for the run is its own; in a given claim and in a bucket it has a folder of its name.
    """
    workspace = run.spec.workspace
    if workspace.s3 is not None:
        return f"{workspace.s3.uri.rstrip('/')}/{run.metadata.name}"
    given = workspace.persistent_volume_claim
    if given is not None and given.claim_name is not None:
        return f"file://{MOUNT}/{run.metadata.name}"
    return f"file://{MOUNT}"


def mounted_claim(run: HardeningRun) -> str | None:
    """Return the name of the claim that a run's pods mount; None where the workspace is a bucket."""
    if run.spec.workspace.s3 is not None:
        return None
    given = run.spec.workspace.persistent_volume_claim
    return (given.claim_name if given is not None else None) or claim_name(run.metadata.name)


def on_one_node(run: HardeningRun, settings: OperatorSettings) -> bool:
    """Tell whether the workspace can be mounted on one node only, so that all pods must go there."""
    return mounted_claim(run) is not None and _template(run, settings).access_mode == "ReadWriteOnce"


def claims(run: HardeningRun, settings: OperatorSettings) -> list[dict[str, Any]]:
    """Return the claim to create for a run; nothing where one is given or the workspace is a bucket."""
    name = claim_name(run.metadata.name)
    template = _template(run, settings)
    if mounted_claim(run) is None or template.claim_name is not None:
        return []
    spec: dict[str, Any] = {
        "accessModes": [template.access_mode],
        "resources": {"requests": {"storage": str(template.size)}},
    }
    if template.storage_class_name is not None:
        spec["storageClassName"] = template.storage_class_name
    labels = run_labels(run.metadata.name)
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(run, name, labels), "spec": spec}
    ]


def _template(run: HardeningRun, settings: OperatorSettings) -> ClaimTemplate:
    """The claim a run asks for, or the one the operator makes for a run that asks for nothing."""
    return run.spec.workspace.persistent_volume_claim or ClaimTemplate.model_validate(
        {
            "size": settings.workspace_size,
            "storageClassName": settings.workspace_storage_class or None,
            "accessMode": settings.workspace_access_mode,
        }
    )
