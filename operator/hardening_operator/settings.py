"""The operator's settings, read from its environment; the Helm chart sets every variable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


class SettingsError(Exception):
    """A variable is missing or cannot be read; the text names it."""


@dataclass(frozen=True)
class OperatorSettings:
    """Settings of the operator; field `x_y` is the variable `HARDENING_X_Y`, lists are comma-separated."""

    trainer_image: str
    """Image of the stage pods, unless a run names its own."""
    operator_namespace: str = "default"
    """Namespace of the operator itself, where its Lease lives."""
    pod_name: str = "hardening-operator"
    """Who holds the Lease."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; none means the whole cluster."""
    image_pull_policy: str = "IfNotPresent"
    """Pull policy of the stage pods."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets for the registry of the trainer image, in each run's namespace."""
    lease_name: str = "hardening-operator"
    """Lease that makes one operator the leader."""
    leader_election: bool = True
    """Off for a single process on a developer's machine."""
    metrics_port: int = 8080
    """`/metrics`."""
    health_port: int = 8081
    """`/healthz` and `/readyz`."""
    resync_seconds: float = 30.0
    """Every live run is looked at this often, whatever events say."""
    workers: int = 4
    """Runs reconciled at the same time."""
    scheduling_deadline_seconds: float = 1800.0
    """A pod that no node takes for this long fails its run as Unschedulable."""
    image_deadline_seconds: float = 300.0
    """A pod whose image cannot be pulled for this long fails its run as ImagePullFailed."""
    progress_seconds: float = 15.0
    """How often the pods' `/metrics` are read into `status.progress`; 0 turns it off."""
    network_policies: bool = True
    """Make a NetworkPolicy for each stage."""
    workspace_size: str = "50Gi"
    """Size of the claim of a run that names no workspace."""
    workspace_storage_class: str = ""
    """Storage class of that claim; empty is the cluster's default."""
    workspace_access_mode: str = "ReadWriteOnce"
    """Access mode of that claim."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> OperatorSettings:
        """Read the settings. Raises SettingsError, naming the variable."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            variable = f"HARDENING_{field.name.upper()}"
            if variable in environ:
                given[field.name] = _read(variable, environ[variable], str(field.type))
        if not given.get("trainer_image"):
            raise SettingsError("HARDENING_TRAINER_IMAGE: got nothing: expected the image of the stage pods")
        return cls(**given)


def _read(variable: str, text: str, kind: str) -> Any:
    match kind:
        case "tuple[str, ...]":
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case "bool":
            if text.lower() not in ("true", "false"):
                raise SettingsError(f"{variable}: got {text}: expected true or false")
            return text.lower() == "true"
        case "int" | "float":
            if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
                raise SettingsError(f"{variable}: got {text}: expected a number of 0 or more")
            return int(float(text)) if kind == "int" else float(text)
        case _:
            return text
