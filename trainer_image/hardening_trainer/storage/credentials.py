"""Secrets, read where the pod or the shell put them; their values appear nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hardening_api.base import SecretRef
from hardening_trainer.errors import UsageFault

FOLDER_VARIABLE = "HARDENING_SECRETS_DIR"


def read_secret(ref: SecretRef | None, default_key: str, environ: Mapping[str, str]) -> str | None:
    """Return the secret `ref` names, or None without a ref.

    In a pod it is the file `$HARDENING_SECRETS_DIR/<name>/<key>`; else the variable `HARDENING_SECRET_<NAME>_<KEY>`
    (upper case, `-` and `.` as `_`). Raises UsageFault, naming the place, where there is none.
    """
    if ref is None:
        return None
    key = ref.key or default_key
    folder = environ.get(FOLDER_VARIABLE)
    if folder:
        file = Path(folder) / ref.name / key
        if not file.is_file():
            raise UsageFault(f"secretRef {ref.name}: no key {key} in {folder}: add it to the Secret", "SecretMissing")
        return file.read_text().strip()
    variable = secret_variable(ref.name, key)
    value = environ.get(variable)
    if not value:
        raise UsageFault(f"secretRef {ref.name}: expected it in the environment variable {variable}", "SecretMissing")
    return value


def secret_variable(name: str, key: str) -> str:
    """Return the environment variable that holds a secret outside a cluster."""
    return f"HARDENING_SECRET_{name}_{key}".upper().replace("-", "_").replace(".", "_")
