"""The workspace: a folder at any fsspec URL, where files appear whole or not at all.

A local file is written under another name, flushed to disk and renamed. An object store shows an object only when
its upload is complete, so there an upload is enough.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.implementations.local import LocalFileSystem

from hardening_trainer.errors import StageError, UsageFault, WorkspaceUnavailable, as_stage_error
from hardening_trainer.storage.stores import open_store

_CHUNK = 1 << 20


class Workspace:
    """Files under `root` of an fsspec filesystem; paths are relative to it, with forward slashes."""

    def __init__(self, filesystem: Any, root: str, url: str) -> None:
        self.filesystem, self.root, self.url = filesystem, root.rstrip("/"), url
        self.local_root = Path(root) if isinstance(filesystem, LocalFileSystem) else None
        """The folder itself, where the workspace is one on this machine."""

    @classmethod
    def open(cls, url: str, environ: Mapping[str, str] = os.environ) -> Workspace:
        """Open the workspace at `url`, a bucket with the keys in `environ`. Raises UsageFault for an unknown scheme."""
        try:
            filesystem, root = open_store(url, environ)
        except (ValueError, ImportError) as error:
            raise UsageFault(f"workspace: got {url}: expected a URL that fsspec opens ({error})") from error
        return cls(filesystem, root, url)

    def at(self, path: str) -> str:
        """Return the filesystem's own name of `path`."""
        return f"{self.root}/{path}" if path else self.root

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        with self._errors(path):
            return bool(self.filesystem.exists(self.at(path)))

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None if there is no such file."""
        with self._errors(path):
            try:
                data: bytes = self.filesystem.cat_file(self.at(path))
            except FileNotFoundError:
                return None
            return data

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        with self._errors(path):
            if self.local_root is None:
                self.filesystem.pipe_file(self.at(path), data)
                return
            target = self.local_root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as stream:
                stream.write(data)

    def publish(self, source: Path, path: str) -> None:
        """Bring a finished local file to `path`: by a rename where the workspace is local (it is then gone here)."""
        with self._errors(path):
            if self.local_root is None:
                self.filesystem.put_file(str(source), self.at(path))
                return
            target = self.local_root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            flush_to_disk(source)
            try:
                source.replace(target)
            except OSError:
                with atomic_file(target) as stream, source.open("rb") as original:
                    shutil.copyfileobj(original, stream, _CHUNK)
                source.unlink()

    def fetch(self, path: str, target: Path) -> Path:
        """Return a local file with the content of `path`: the file itself, or a copy made at `target`."""
        if self.local_root is not None:
            return self.local_root / path
        with self._errors(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            self.filesystem.get_file(self.at(path), str(target))
        return target

    def files(self, folder: str) -> dict[str, int]:
        """Return the sizes of all files under `folder`, by path relative to it; empty if there is no such folder."""
        with self._errors(folder):
            # A listing kept from before would miss what other pods have written since.
            self.filesystem.invalidate_cache()
            found: dict[str, Any] = self.filesystem.find(self.at(folder), detail=True)
        prefix = self.filesystem._strip_protocol(self.at(folder)) + "/"
        return {name.removeprefix(prefix): int(entry["size"]) for name, entry in sorted(found.items())}

    def remove(self, path: str) -> None:
        """Remove a file or a whole folder; nothing happens if there is none."""
        with self._errors(path):
            try:
                self.filesystem.rm(self.at(path), recursive=True)
            except FileNotFoundError:
                return

    def sha256(self, path: str) -> str:
        """Return the sha256 (hex) of a file's bytes."""
        with self._errors(path), self.filesystem.open(self.at(path), "rb") as stream:
            return sha256_of(stream)

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except StageError:
            raise
        except Exception as error:
            known = as_stage_error(error)
            if type(known) is not StageError:
                raise known from error
            message = f"workspace {self.url}: {path}: {type(error).__name__}: {str(error)[:200]}"
            raise WorkspaceUnavailable(f"{message}: check that it is reachable and writable") from error


@contextmanager
def atomic_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `target` when the block ends well, and leaves nothing otherwise."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def flush_to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(stream: Any) -> str:
    """Return the sha256 (hex) of all that is left in a binary stream."""
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
