"""What a stage reads: other stages' folders, models, data. Each is checked, and its digest goes to the manifest.

Names of inputs: `stage:<folder>`, `model:<uri>@<revision>`, `data:<uri>?<what was read of it>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hardening_api.base import walk
from hardening_api.sources import DataSource, ModelSource
from hardening_api.stages import Manifest, StageConfig, Weights, digest_of
from hardening_trainer.data import PairTable, PromptTable, read_pairs, read_prompts
from hardening_trainer.errors import CorruptInput, Unavailable
from hardening_trainer.storage.credentials import read_secret
from hardening_trainer.storage.manifests import load_manifest, torn_files
from hardening_trainer.storage.promoted import PROMOTED, fetch_promoted
from hardening_trainer.storage.stores import opener
from hardening_trainer.storage.workspace import Workspace

if TYPE_CHECKING:
    from hardening_trainer.models import ResolvedModel

Record = Callable[[str, str], None]
_IN_STAGE = re.compile(r"^(?P<folder>rounds/\d+/[a-z-]+/shard-\d+-of-\d+)(/(?P<under>.+))?$")


class Inputs:
    """Brings inputs to this machine, under `scratch` where they are not here, and records their digests."""

    def __init__(self, workspace: Workspace, scratch: Path, record: Record, environ: Mapping[str, str]) -> None:
        self._workspace, self._scratch, self._record, self._environ = workspace, scratch, record, environ

    def stage(self, folder: str, under: str = "") -> Path:
        """Return a local folder with the files of another stage (only those in its subfolder `under`, if given).

        Raises Unavailable when that stage has no manifest, CorruptInput when files do not match it.
        """
        manifest = self.manifest(folder)
        prefix = f"{under}/" if under else ""
        records = [record for record in manifest.files if record.path.startswith(prefix)]
        torn = torn_files(self._workspace, folder, records)
        if torn or not records:
            found = f"{', '.join(torn[:3])} missing or not as its manifest says" if torn else f"no files in {under}"
            raise CorruptInput(f"{folder}: {found}: remove the folder, so that its stage is done again")
        for record in records:
            self._workspace.fetch(f"{folder}/{record.path}", self._scratch / folder / record.path)
        home = self._workspace.local_root or self._scratch
        return home / folder / under

    def manifest(self, folder: str) -> Manifest:
        """Return and record the manifest of another stage. Raises Unavailable when there is none."""
        manifest = load_manifest(self._workspace, folder)
        if manifest is None:
            raise Unavailable(f"{folder}: no readable manifest: its stage has not finished", "InputMissing")
        self._record(f"stage:{folder}", manifest.digest())
        return manifest

    def model(self, weights: Weights) -> ResolvedModel:
        """Return a model's local folder and digest, whether it is named by URI or by a folder of the workspace."""
        from hardening_trainer.models import ResolvedModel  # noqa: PLC0415  # takes seconds: torch
        from hardening_trainer.models.files import folder_digest  # noqa: PLC0415

        if weights.source is not None:
            resolved = resolve_source(weights.source, self._environ)
            self._record(model_input(weights.source), f"sha256:{resolved.digest}")
            return resolved
        path = str(weights.path)
        if PROMOTED.match(path):
            local, digest = fetch_promoted(self._workspace, path, self._scratch)
            self._record(f"promoted:{path}", digest)
            return ResolvedModel(local, f"{self._workspace.url}/{path}", None, folder_digest(local))
        match = _IN_STAGE.match(path)
        if match is None:
            raise CorruptInput(f"weights {path}: expected rounds/<t>/<stage>/shard-<i>-of-<n>/... or promoted/<name>")
        local = self.stage(match["folder"], match["under"] or "")
        return ResolvedModel(local, f"{self._workspace.url}/{path}", None, folder_digest(local))

    def prompts(self, source: DataSource) -> PromptTable:
        """Read prompts, and record what was read. Raises as `data.read_prompts` does."""
        table = read_prompts(source, self._environ)
        self._record(data_input(source, table.revision), table.digest)
        return table

    def pairs(self, source: DataSource) -> PairTable:
        """Read preference rows, and record what was read. Raises as `data.read_pairs` does."""
        table = read_pairs(source, self._environ)
        self._record(data_input(source, table.revision), table.digest)
        return table


def resolve_source(source: ModelSource, environ: Mapping[str, str]) -> ResolvedModel:
    """Bring the model at a URI to this machine."""
    from hardening_trainer.models import resolve_model, with_chat_template  # noqa: PLC0415  # takes seconds: torch

    token = read_secret(source.secret_ref, "token", environ) if source.uri.startswith("hf://") else None
    open_url = opener(source.secret_ref, environ)
    resolved = resolve_model(source.uri, source.revision, cache_folder(environ), token, open_url)
    if source.chat_template is None:
        return resolved
    return with_chat_template(resolved, source.chat_template, cache_folder(environ))


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return where fetched and converted models are kept: `$HARDENING_CACHE_DIR`, else the user's cache."""
    given = environ.get("HARDENING_CACHE_DIR")
    if given:
        return Path(given)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hardening-operator"


def model_input(source: ModelSource) -> str:
    """Return the name under which a manifest records this model."""
    template = digest_of(source.chat_template.to_document())[7:15] if source.chat_template else ""
    revision = f"@{source.revision}" if source.revision else ""
    return f"model:{source.uri}{revision}" + (f"#chatTemplate={template}" if template else "")


def data_input(source: DataSource, revision: str | None = None) -> str:
    """Return the name under which a manifest records these rows, of the commit `revision` where there is one."""
    on_hub = {"revision": revision or source.revision, "subset": source.subset, "split": source.split}
    part = {"offset": source.offset or None, "limit": source.limit}
    given = {**(on_hub if source.uri.startswith("hf://") else {}), **part}
    query = "&".join(f"{key}={value}" for key, value in given.items() if value is not None)
    return f"data:{source.uri}" + (f"?{query}" if query else "")


def changed_inputs(
    manifest: Manifest, config: StageConfig, workspace: Workspace, environ: Mapping[str, str]
) -> list[str]:
    """Return the names of recorded inputs that have changed since.

    Stages' folders, and models and data by `file://`, are looked at; what a hub's revision or a store's key named
    when the stage ran is what the run continues with.
    """
    return [
        name for name, digest in manifest.inputs.items() if _now(name, config, workspace, environ) not in {None, digest}
    ]


def _now(name: str, config: StageConfig, workspace: Workspace, environ: Mapping[str, str]) -> str | None:
    kind, _, rest = name.partition(":")
    if kind == "stage":
        manifest = load_manifest(workspace, rest)
        return manifest.digest() if manifest else "gone"
    if not rest.startswith("file://"):
        return None
    for _, part in walk(config):
        if isinstance(part, ModelSource) and model_input(part) == name:
            return f"sha256:{resolve_source(part, environ).digest}"
        if isinstance(part, DataSource) and data_input(part) == name:
            return read_prompts(part, environ).digest
    return None
