"""Finished work, kept record by record: what an interrupted stage need not do again.

    records-<n>.jsonl    one line a record: [key, fields]; the newest file grows until it has `ROLL_BYTES`

What a record is of (a model's digest, a prompt, ...) is hashed to its key, so another model or prompt finds nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ROLL_BYTES = 1 << 20
"""An object store takes a changed file as a whole: this much at most is uploaded again with each addition."""

Record = TypeVar("Record", bound="DataclassInstance")
Of = tuple[str | None, ...]
"""What a record is of."""


class ResumeCache:
    """Records in files of JSON lines under `folder`. `keep` is called after each addition, to bring it to safety."""

    def __init__(self, folder: Path, keep: Callable[[], None] = lambda: None) -> None:
        self._folder, self._keep = folder, keep
        self.fields: dict[str, list[Any]] = {}
        self.known: set[str] = set()
        """Keys of what was found elsewhere: it is not written here."""
        files = sorted(folder.glob("records-*.jsonl"))
        for file in files:
            self._read(file)
        self._number = len(files)

    def records(self, kind: str, record: Callable[..., Record]) -> Records[Record]:
        """Return the records of one kind; `record` makes one from its fields."""
        return Records(self, kind, record)

    def write(self, entries: Mapping[str, list[Any]]) -> None:
        """Keep fields by key."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"records-{self._number:05}.jsonl"
        with file.open("ab") as stream:
            for key, fields in entries.items():
                stream.write(json.dumps([key, fields]).encode() + b"\n")
            size = stream.tell()
        self.fields.update(entries)
        self._keep()
        if size >= ROLL_BYTES:
            self._number += 1

    def _read(self, file: Path) -> None:
        """Take the lines of a file up to one that a kill cut off, or that is no line of it."""
        for line in file.read_bytes().splitlines(keepends=True):
            try:
                key, fields = json.loads(line)
                self.fields[str(key)] = list(fields)
            except (ValueError, TypeError):
                return


class Records(Generic[Record]):
    """Records of one kind, by what they are of."""

    def __init__(self, cache: ResumeCache, kind: str, record: Callable[..., Record]) -> None:
        self._cache, self._kind, self._record = cache, kind, record

    def key(self, of: Of) -> str:
        """Return a record's key, which also puts records into an order that does not depend on how work is shared."""
        return key_of(self._kind, *of)

    def __contains__(self, of: Of) -> bool:
        return self.key(of) in self._cache.fields

    def __getitem__(self, of: Of) -> Record:
        return self._record(*self._cache.fields[self.key(of)])

    def add(self, records: Mapping[Any, Record]) -> None:
        """Keep finished records, by what they are of."""
        self._cache.write({self.key(of): list(astuple(record)) for of, record in records.items()})

    def know(self, of: Of, record: Record) -> None:
        """Take a record that was found elsewhere; it is not written."""
        key = self.key(of)
        self._cache.fields[key] = list(astuple(record))
        self._cache.known.add(key)

    def is_known(self, of: Of) -> bool:
        """Whether a record was found elsewhere."""
        return self.key(of) in self._cache.known


def key_of(*parts: str | None) -> str:
    """Name a piece of work by what it is made of."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
