"""Bringing a promoted checkpoint to a store: files, card, statement, and last the pointer.

    <home>/<name>/...              the checkpoint's files and README.md
    <home>/<name>/statement.json   written when all of them are there with their digests
    <home>/current.json            the pointer: written when every store has the statement

Each write is whole or not at all, and none is needed twice: after a kill anywhere, doing it again completes it, and
the pointer never names a folder that is not whole. Moving the pointer back to its `previous` entry is a rollback.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardening_trainer.errors import CorruptInput, WorkspaceUnavailable
from hardening_trainer.promotion.evidence import Checkpoint
from hardening_trainer.promotion.statement import without_time
from hardening_trainer.storage.promoted import CARD, STATEMENT
from hardening_trainer.storage.workspace import Workspace, atomic_file

POINTER = "current.json"


@dataclass(frozen=True)
class Store:
    """A place for promoted checkpoints: the folder `home` of a file system."""

    files: Workspace
    home: str

    def at(self, path: str) -> str:
        """Return `path` as the file system has it."""
        return f"{self.home}/{path}" if self.home else path


@dataclass(frozen=True)
class Bundle:
    """The files of a promotion, and the name of their folder."""

    name: str
    checkpoint: Checkpoint
    card: bytes
    statement: bytes
    subject: Mapping[str, str]
    """sha256 (hex) of every file but the statement."""


def deliver(bundle: Bundle, store: Store, moved: Callable[[int], None]) -> None:
    """Make the folder of `bundle` whole in `store`; what is there already with its digest is kept.

    `moved` is called with the size of every file that is in place. Raises WorkspaceUnavailable when a file reads
    back as another than was written.
    """
    folder = store.at(bundle.name)
    present = store.files.files(folder)
    for path in present.keys() - {*bundle.subject, STATEMENT}:
        store.files.remove(f"{folder}/{path}")
    for record in bundle.checkpoint.files:
        target = f"{folder}/{record.path}"
        if present.get(record.path) != record.size or store.files.sha256(target) != record.sha256:
            _copy(bundle.checkpoint.folder / record.path, store.files, target)
        moved(record.size)
    if store.files.read(f"{folder}/{CARD}") != bundle.card:
        store.files.write(f"{folder}/{CARD}", bundle.card)
    for path, sha256 in bundle.subject.items():
        if store.files.sha256(f"{folder}/{path}") != sha256:
            raise WorkspaceUnavailable(f"{store.files.url}: {folder}/{path}: reads back with another digest: try again")
    written = store.files.read(f"{folder}/{STATEMENT}")
    if written is None or without_time(written) != without_time(bundle.statement):
        store.files.write(f"{folder}/{STATEMENT}", bundle.statement)


def move_pointer(bundle: Bundle, store: Store, round_number: int) -> None:
    """Let the pointer of `store` name this bundle, and keep the entry it replaces."""
    folder = store.at(bundle.name)
    entry: dict[str, Any] = {
        "digest": bundle.checkpoint.digest,
        "path": folder,
        "statement": f"{folder}/{STATEMENT}",
        "round": round_number,
    }
    before = _pointer(store)
    if before is not None and {**before, "previous": None} == {**entry, "previous": None}:
        return
    text = json.dumps({**entry, "previous": before}, indent=1)
    store.files.write(store.at(POINTER), text.encode())


def _pointer(store: Store) -> dict[str, Any] | None:
    data = store.files.read(store.at(POINTER))
    if data is None:
        return None
    try:
        pointer: Any = json.loads(data)
    except ValueError:
        pointer = None
    if not isinstance(pointer, dict):
        raise CorruptInput(f"{store.files.url}: {store.at(POINTER)}: not a JSON object: restore it or remove it")
    return pointer


def _copy(source: Path, files: Workspace, target: str) -> None:
    """Bring a copy of a local file to the store, whole or not at all; the original stays."""
    if files.local_root is None:
        files.publish(source, target)  # an upload
        return
    path = files.local_root / target
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream, source.open("rb") as original:
        shutil.copyfileobj(original, stream, 1 << 20)
