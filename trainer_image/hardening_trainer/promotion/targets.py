"""Promotion targets: the workspace itself always, and the other places a run names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import fsspec

from hardening_api.base import SecretRef
from hardening_api.evaluation import Target
from hardening_trainer.credentials import read_secret
from hardening_trainer.errors import UsageFault
from hardening_trainer.promotion.delivery import Store
from hardening_trainer.workspace import Workspace

WORKSPACE_HOME = "promoted"
ACCESS_KEY, SECRET_KEY = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"  # names of a Secret's keys


def open_stores(targets: Sequence[Target], workspace: Workspace, environ: Mapping[str, str]) -> list[Store]:
    """Return where the checkpoint goes, the workspace last: its pointer is the record of the run.

    Raises UsageFault (`TargetUnsupported`) for a target that cannot be written from here.
    """
    others = [_open(index, target, environ) for index, target in enumerate(targets) if target.type != "Workspace"]
    return [*others, Store(workspace, WORKSPACE_HOME)]


def _open(index: int, target: Target, environ: Mapping[str, str]) -> Store:
    field = f"promote.targets[{index}]"
    if target.type != "S3":
        raise UsageFault(
            f"{field}.type: got {target.type}: expected Workspace or S3, which this version writes", "TargetUnsupported"
        )
    try:
        filesystem, root = fsspec.core.url_to_fs(target.uri, **_credentials(target.secret_ref, environ))
    except (ValueError, ImportError) as error:
        raise UsageFault(f"{field}.uri: got {target.uri}: {error}", "TargetUnsupported") from error
    return Store(Workspace(filesystem, root, str(target.uri)), "")


def _credentials(ref: SecretRef | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Options of the S3 file system. Without a secret it looks where AWS tools do."""
    if ref is None:
        return {}
    named = SecretRef(name=ref.name)
    found = {option: read_secret(named, key, environ) for option, key in (("key", ACCESS_KEY), ("secret", SECRET_KEY))}
    return {option: value for option, value in found.items() if value is not None}
