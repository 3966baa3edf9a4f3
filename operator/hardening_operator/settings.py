"""The operator's settings, read from its environment; the Helm chart sets every variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveInt, TypeAdapter, ValidationError


def _parts(text: Any) -> Any:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


Names = Annotated[tuple[str, ...], BeforeValidator(_parts)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SettingsError(Exception):
    """A variable is missing or cannot be read; the text names it."""


@dataclass(frozen=True)
class OperatorSettings:
    """Settings of the operator; field `x_y` is the variable `HARDENING_X_Y`, lists are comma-separated."""

    trainer_image: Annotated[str, Field(min_length=1)]
    """Image of the stage pods, unless a run names its own."""
    operator_namespace: str = "default"
    """Namespace of the operator itself, where its Lease lives."""
    pod_name: str = "hardening-operator"
    """Who holds the Lease."""
    namespaces: Names = ()
    """Namespaces to watch; none means the whole cluster."""
    image_pull_policy: str = "IfNotPresent"
    """Pull policy of the stage pods."""
    image_pull_secrets: Names = ()
    """Secrets for the registry of the trainer image, in each run's namespace."""
    lease_name: str = "hardening-operator"
    """Lease that makes one operator the leader."""
    leader_election: bool = True
    """Off for a single process on a developer's machine."""
    metrics_port: Port = 8080
    """`/metrics`."""
    health_port: Port = 8081
    """`/healthz` and `/readyz`."""
    resync_seconds: Seconds = 30.0
    """Every live run is looked at this often, whatever events say."""
    workers: PositiveInt = 4
    """Runs reconciled at the same time."""
    scheduling_deadline_seconds: Seconds = 1800.0
    """A pod that no node takes for this long fails its run as Unschedulable."""
    image_deadline_seconds: Seconds = 300.0
    """A pod whose image cannot be pulled for this long fails its run as ImagePullFailed."""
    progress_seconds: Seconds = 15.0
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
        """Read the settings. Raises SettingsError, with one line for each variable that is wrong."""
        variables = {field.name: f"HARDENING_{field.name.upper()}" for field in fields(cls)}
        given = {name: environ[variable] for name, variable in variables.items() if variable in environ}
        try:
            return TypeAdapter(cls).validate_python(given)
        except ValidationError as refusal:
            found = refusal.errors(include_url=False)
            raise SettingsError("\n".join(_line(variables[str(error["loc"][0])], error) for error in found)) from None


def _line(variable: str, error: Mapping[str, Any]) -> str:
    if error["type"] == "missing" or error["input"] == "":
        return f"{variable}: got nothing: expected a value"
    words = error["msg"].partition(",")[0].removeprefix("Input should be ")
    return f"{variable}: got {error['input']}: expected {words}"
