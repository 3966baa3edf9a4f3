"""Manifests: how a stage's folder is read back, and how one knows that it is whole."""

from __future__ import annotations

from pydantic import ValidationError

from hardening_api.stages import FileRecord, Manifest
from hardening_trainer.storage.workspace import Workspace

MANIFEST = "manifest.json"


def load_manifest(workspace: Workspace, folder: str) -> Manifest | None:
    """Return the manifest of a stage's folder, or None where there is none or it is not readable as one."""
    data = workspace.read(f"{folder}/{MANIFEST}")
    if data is None:
        return None
    try:
        return Manifest.model_validate_json(data)
    except ValidationError:
        return None


def torn_files(workspace: Workspace, folder: str, files: list[FileRecord]) -> list[str]:
    """Return the paths of `files` that are missing, of another size, or of another content."""
    sizes = workspace.files(folder)
    return [record.path for record in files if not _is_whole(workspace, folder, record, sizes)]


def _is_whole(workspace: Workspace, folder: str, record: FileRecord, sizes: dict[str, int]) -> bool:
    if sizes.get(record.path) != record.size:
        return False
    return workspace.sha256(f"{folder}/{record.path}") == record.sha256


def write_manifest(workspace: Workspace, folder: str, manifest: Manifest) -> None:
    """Write the manifest: from here on the stage's result exists."""
    text = manifest.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    workspace.write(f"{folder}/{MANIFEST}", text.encode())
