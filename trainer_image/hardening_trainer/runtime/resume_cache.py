"""Finished work, kept line by line: what an interrupted stage need not do again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal(Mapping[str, Any]):
    """Results by key in a file of JSON lines. A line that a kill cut off counts as not written.

    What is `known` from elsewhere is found here too, and not written again.
    """

    def __init__(self, path: Path, known: Mapping[str, Any]) -> None:
        self._path = path
        self._entries: dict[str, Any] = dict(known)
        whole = b""
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
            try:
                key, value = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            self._entries[key] = value
            whole += line
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole)

    def add(self, entries: Mapping[str, Any]) -> None:
        """Keep finished results."""
        with self._path.open("ab") as stream:
            for key, value in entries.items():
                stream.write(json.dumps([key, value]).encode() + b"\n")
        self._entries.update(entries)

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def key_of(*parts: str | None) -> str:
    """Name a piece of work by what it is made of."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
