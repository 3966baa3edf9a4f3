"""A promoted checkpoint, read again: its files must be the ones its statement attests."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hardening_api.stages import digest_of
from hardening_trainer.errors import CorruptInput
from hardening_trainer.storage.workspace import Workspace

CARD, STATEMENT = "README.md", "statement.json"
PROMOTED = re.compile(r"^promoted/[^/]+$")


def fetch_promoted(workspace: Workspace, folder: str, scratch: Path) -> tuple[Path, str]:
    """Return a local folder with a promoted checkpoint of the workspace, and the checkpoint's digest.

    Raises CorruptInput when the statement is missing or a file is not the one it names.
    """
    files = _attested(workspace, folder)
    torn = [path for path, sha256 in files.items() if _sha256(workspace, f"{folder}/{path}") != sha256]
    if torn:
        raise CorruptInput(f"{folder}: {', '.join(torn[:3])} missing or not as attested: restore the checkpoint")
    for path in files:
        workspace.fetch(f"{folder}/{path}", scratch / folder / path)
    return (workspace.local_root or scratch) / folder, digest_of(files)


def _attested(workspace: Workspace, folder: str) -> dict[str, str]:
    """The sha256 of each file of the checkpoint; the model card is no part of it."""
    data = workspace.read(f"{folder}/{STATEMENT}")
    try:
        subject = json.loads(data or b"")["subject"]
        files = {str(entry["name"]): str(entry["digest"]["sha256"]) for entry in subject if entry["name"] != CARD}
    except (ValueError, LookupError, TypeError):
        files = {}
    if not files:
        raise CorruptInput(f"{folder}: no statement that attests a checkpoint: expected the folder of a promotion")
    return files


def _sha256(workspace: Workspace, path: str) -> str | None:
    return workspace.sha256(path) if workspace.exists(path) else None
