"""What a local run needs of a manifest beyond its validity, checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hardening_api.base import SecretRef, walk
from hardening_api.run import HardeningRun
from hardening_operator.local.home import HomeError
from hardening_operator.resources.validation import unsupported_targets


def resolve_relative_uris(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``document`` with every relative `file://` URI made absolute against ``folder``."""

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: resolve(item) for name, item in value.items()}
        if isinstance(value, list):
            return [resolve(item) for item in value]
        if isinstance(value, str) and value.startswith("file://") and not value.startswith("file:///"):
            return f"file://{(folder / value.removeprefix('file://')).resolve()}"
        return value

    return {**document, "spec": resolve(document["spec"])}


def check(run: HardeningRun, environment: Mapping[str, str]) -> None:
    """Refuse what cannot work locally: missing files, secrets that are not set, targets that cannot be written.

    Raises HomeError with one line per finding.
    """
    findings = [*_missing_files(run), *unsupported_targets(run.spec), *_missing_secrets(run, environment)]
    if findings:
        raise HomeError("\n".join(findings))


def _missing_files(run: HardeningRun) -> Iterator[str]:
    for path, value in walk(run.spec, "spec"):
        if path.endswith(".uri") and isinstance(value, str) and value.startswith("file://"):
            file = Path(value.removeprefix("file://"))
            if not file.exists():
                yield f"{path}: got {value}: expected a file or folder that exists"


def _missing_secrets(run: HardeningRun, environment: Mapping[str, str]) -> Iterator[str]:
    if "HARDENING_SECRETS_DIR" in environment:
        return
    for path, value in walk(run.spec, "spec"):
        if isinstance(value, SecretRef):
            start = f"HARDENING_SECRET_{value.name.upper().replace('-', '_')}_"
            if not any(name.startswith(start) for name in environment):
                yield f"{path}: got {value.name}: expected it in the environment, as {start}<KEY>"


def stage_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of stage processes: this one, quiet unless it says otherwise."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    given = dict(os.environ if environment is None else environment)
    return {**{name: value for name, value in quiet.items() if name not in given}, **given}
