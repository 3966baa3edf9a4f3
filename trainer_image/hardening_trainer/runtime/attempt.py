"""One attempt at a stage: where it writes, what an interrupted attempt left, and how the work is committed.

Of the nodes of one training only the first, the leader, changes the workspace.

    <folder>                    the result: files, and manifest.json last
    <folder parent>/.<name>.work/partial/   what an interrupted attempt saved
                                attempt.json    of which config and inputs
                                out/            the result while it is written (local workspace)

Where the workspace is an object store, `out` and `partial` lie in a scratch folder here, and `keep_partial` uploads.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from hardening_api.stages import FileRecord, Manifest, StageConfig, StageResult
from hardening_trainer.storage.manifests import MANIFEST, load_manifest, torn_files, write_manifest
from hardening_trainer.storage.workspace import Workspace, flush_to_disk, sha256_of


class Attempt:
    """The folders of one attempt. `folder` is empty at first; `partial` may hold what an earlier attempt saved."""

    def __init__(self, config: StageConfig, workspace: Workspace, scratch: Path, leader: bool = True) -> None:
        self._config, self._workspace, self._leader = config, workspace, leader
        self._target = config.folder
        target = PurePosixPath(self._target)
        self._work = str(target.parent / f".{target.name}.work")
        home = scratch if workspace.local_root is None else workspace.local_root / self._work
        self.folder, self.partial = (home if leader else scratch) / "out", home / "partial"
        self.inputs: dict[str, str] = {}
        self._earlier: dict[str, str] = {}
        self._uploaded: dict[str, tuple[int, int]] = {}

    def finished(self) -> Manifest | None:
        """Return the manifest of the same work done before, if it is whole."""
        manifest = load_manifest(self._workspace, self._target)
        if manifest is None or manifest.config != self._config.digest():
            return None
        return None if torn_files(self._workspace, self._target, manifest.files) else manifest

    def close(self) -> None:
        """Remove what is only needed during the work."""
        if self._leader:
            self._workspace.remove(self._work)

    def open(self) -> None:
        """Remove what a torn attempt left in the stage's folder, and bring back what one saved to resume from."""
        if self._leader:
            self._workspace.remove(f"{self._target}/{MANIFEST}")
            self._workspace.remove(self._target)
            self._restore_partial()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.partial.mkdir(parents=True, exist_ok=True)

    def _restore_partial(self) -> None:
        saved = self._saved()
        if saved.get("config") != self._config.digest():
            self._workspace.remove(self._work)
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        self._earlier = saved.get("inputs", {})
        if self._workspace.local_root is None:
            for path in self._workspace.files(f"{self._work}/partial"):
                self._workspace.fetch(f"{self._work}/partial/{path}", self.partial / path)
                self._uploaded[path] = _state(self.partial / path)

    def _saved(self) -> dict[str, Any]:
        data = self._workspace.read(f"{self._work}/attempt.json")
        try:
            saved: dict[str, Any] = json.loads(data) if data else {}
        except ValueError:
            return {}
        return saved

    def record_input(self, name: str, digest: str) -> None:
        """Note the digest of something read. If an earlier attempt read another content, what it saved is dropped."""
        if self._leader and self._earlier.get(name, digest) != digest:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            self._earlier = {}
        if self._leader and self.inputs.get(name) != digest:
            self.inputs[name] = digest
            document = {"config": self._config.digest(), "inputs": {**self._earlier, **self.inputs}}
            self._workspace.write(f"{self._work}/attempt.json", json.dumps(document).encode())

    def keep_partial(self) -> None:
        """Make `partial` outlive this machine; on a local workspace it does already."""
        if self._workspace.local_root is not None or not self._leader:
            return
        present = {str(file.relative_to(self.partial)): file for file in _files_under(self.partial)}
        for path, file in present.items():
            if self._uploaded.get(path) != _state(file):
                self._workspace.publish(file, f"{self._work}/partial/{path}")
                self._uploaded[path] = _state(file)
        for path in self._uploaded.keys() - present.keys():
            self._workspace.remove(f"{self._work}/partial/{path}")
            del self._uploaded[path]

    def commit(self, result: StageResult, created: str) -> StageResult:
        """Bring `folder` to the stage's folder, the manifest last; return the result with the manifest's digest."""
        files = sorted(_files_under(self.folder))
        records = [_record(file, self.folder) for file in files]
        manifest = Manifest(
            stage=self._config.stage,
            round=self._config.round,
            shard=self._config.shard,
            config=self._config.digest(),
            inputs=dict(sorted(self.inputs.items())),
            files=records,
            result=result,
            created=created,
        )
        for file, record in zip(files, records, strict=True):
            self._workspace.publish(file, f"{self._target}/{record.path}")
        write_manifest(self._workspace, self._target, manifest)
        if self._workspace.local_root is not None:
            flush_to_disk(self._workspace.local_root / self._target)
        self.close()
        return result.model_copy(update={"manifest": manifest.digest()})


def _files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _record(file: Path, folder: Path) -> FileRecord:
    with file.open("rb") as stream:
        digest = sha256_of(stream)
    return FileRecord(path=file.relative_to(folder).as_posix(), size=file.stat().st_size, sha256=digest)


def _state(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns
