"""Promotion targets: the workspace itself always, and the other places a run names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hardening_api.evaluation import PromotionTarget
from hardening_trainer.errors import UsageFault
from hardening_trainer.promotion.delivery import Store
from hardening_trainer.storage.stores import open_store
from hardening_trainer.storage.workspace import Workspace

WORKSPACE_HOME = "promoted"


def open_stores(targets: Sequence[PromotionTarget], workspace: Workspace, environ: Mapping[str, str]) -> list[Store]:
    """Return where the checkpoint goes, the workspace last: its pointer is the record of the run.

    Raises UsageFault (`TargetUnsupported`) for a target that cannot be written from here.
    """
    others = [_open(index, target, environ) for index, target in enumerate(targets) if target.type != "Workspace"]
    return [*others, Store(workspace, WORKSPACE_HOME)]


def _open(index: int, target: PromotionTarget, environ: Mapping[str, str]) -> Store:
    field = f"promote.targets[{index}]"
    if target.type != "S3":
        raise UsageFault(
            f"{field}.type: got {target.type}: expected Workspace or S3, which this version writes", "TargetUnsupported"
        )
    try:
        filesystem, root = open_store(str(target.uri), environ, target.secret_ref)
    except (ValueError, ImportError) as error:
        raise UsageFault(f"{field}.uri: got {target.uri}: {error}", "TargetUnsupported") from error
    return Store(Workspace(filesystem, root, str(target.uri)), "")
