"""Where a local run keeps what it knows: status, spec, and one folder for every attempt of every stage.

```
<home>/status.json                      the resource's status
<home>/run.json                         the run as it was started (its spec must not change)
<home>/local/lock                    held while a runner works on the run
<home>/local/r1-attack/a1/shard-0/   stage.json, result.json, progress.json, process.json, exit.json, log
```
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_camel

from hardening_api.run import CHANGEABLE, HardeningRun
from hardening_api.stages import STAGES, digest_of
from hardening_api.status import HardeningRunStatus
from hardening_operator.planner.types import StageKey


class HomeError(Exception):
    """The folder of a run cannot be used; the text says why and what to do."""


class Home:
    """The folder of one local run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "local"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; refuse when another runner holds it."""
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeError(f"{self.folder}: another `hardening run` works on it: wait for it or end it") from None
            yield

    def adopt(self, run: HardeningRun) -> HardeningRun:
        """Record ``run`` at its first start; later refuse a spec that differs, naming the fields."""
        path = self.folder / "run.json"
        if path.exists():
            changed = changed_fields(json.loads(path.read_text())["spec"], run.to_document()["spec"])
            if changed:
                fields = ", ".join(f"spec.{name}" for name in changed)
                raise HomeError(f"{fields}: changed since this run was started: undo it, or use another --workspace")
        write_json(path, run.to_document())
        return run

    def load_run(self) -> HardeningRun:
        """Return the run as recorded."""
        path = self.folder / "run.json"
        if not path.exists():
            raise HomeError(f"{self.folder}: got no run.json: expected the folder of a run made by `hardening run`")
        return HardeningRun.model_validate(json.loads(path.read_text()))

    def load_status(self) -> HardeningRunStatus:
        """Return the recorded status, or an empty one."""
        path = self.folder / "status.json"
        if not path.exists():
            return HardeningRunStatus()
        return HardeningRunStatus.model_validate(json.loads(path.read_text()))

    def save_status(self, status: HardeningRunStatus) -> None:
        """Replace the recorded status, atomically."""
        write_json(self.folder / "status.json", status.to_document())

    def attempts(self, key: StageKey) -> list[Path]:
        """Return the folders of a stage's attempts, the oldest first."""
        folder = self.stage(key)
        found = folder.glob("a*") if folder.exists() else ()
        return sorted(found, key=lambda path: int(path.name[1:]))

    def stage(self, key: StageKey) -> Path:
        """Return the folder of a stage's attempts."""
        return self.state / f"r{key.round}-{STAGES[key.stage].folder}"

    def shards(self, key: StageKey, attempt: int) -> list[Path]:
        """Return the folders of an attempt's shards, in order."""
        found = (self.stage(key) / f"a{attempt}").glob("shard-*")
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def changed_fields(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the top-level fields that differ, those that may change apart."""
    names = sorted({*before, *after} - set(map(to_camel, CHANGEABLE)))
    return [name for name in names if digest_of(before.get(name)) != digest_of(after.get(name))]


def write_json(path: Path, document: Any) -> None:
    """Replace ``path`` with ``document``, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)


def read_json(path: Path) -> Any | None:
    """Return the document at ``path``, or None when it is absent or torn."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
