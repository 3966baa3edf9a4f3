"""The HardeningRun that hardens a promoted checkpoint again.

It is the run it follows, but for three things: the model is the promoted checkpoint, the attacker starts as the one
that attacked it, and the attacks that the check found to succeed are trained on beside the preferences.
"""

from __future__ import annotations

from typing import Any

from hardening_api.base import API_VERSION
from hardening_api.run import Workspace
from hardening_api.sources import DataSource, ModelSource
from hardening_api.stages import STAGES, CheckIdentity
from hardening_operator.planner.check_config import promoted_round
from hardening_operator.planner.monitor_types import RerunStart
from hardening_operator.planner.names import MONITOR_LABEL
from hardening_operator.planner.stage_configs import trained_model

ATTACKS = "attacks.jsonl"


def build_rerun(start: RerunStart, monitor: str, workspace_url: str, workspace: Workspace | None) -> dict[str, Any]:
    """Return the document of a rerun.

    Args:
        start: The rerun, and the run it follows with its status.
        monitor: Name of the monitor.
        workspace_url: Where pods, or local processes, see the workspace of the run it follows.
        workspace: `spec.workspace` of the rerun, from which that URL can be read too; None leaves the run's own.
    """
    source, promoted = start.source, promoted_round(start.source)
    spec = source.spec
    secret = spec.workspace.s3.secret_ref if spec.workspace.s3 is not None else None
    model = ModelSource(uri=f"{workspace_url}/{promoted.uri}", secret_ref=secret)
    attacker = ModelSource(uri=f"{workspace_url}/{trained_model(promoted.round, 'attacker')}", secret_ref=secret)
    update: dict[str, Any] = {
        "model": model,
        "attacker": spec.attacker.model_copy(update={"model": attacker}),
        "suspend": False,
    }
    if start.attacks > 0:
        folder = CheckIdentity(monitor=monitor, name=start.rerun.check).folder
        uri = f"{workspace_url}/{folder}/{STAGES['Evaluate'].folder}/shard-0-of-1/{ATTACKS}"
        update["data"] = spec.data.model_copy(update={"attacks": DataSource(uri=uri, secret_ref=secret)})
    if workspace is not None:
        update["workspace"] = workspace
    labels = (source.metadata.model_extra or {}).get("labels") or {}
    metadata = {"name": start.rerun.name, "labels": {**labels, MONITOR_LABEL: monitor}}
    if source.metadata.namespace is not None:
        metadata["namespace"] = source.metadata.namespace
    # Only what was given: defaults written out would ask for more than the run did, such as benign prompts for a gate.
    document = spec.model_copy(update=update).model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_unset=True
    )
    return {"apiVersion": API_VERSION, "kind": "HardeningRun", "metadata": metadata, "spec": document}
