"""What of pod overrides cannot be: fields Kubernetes does not have, and places that are the operator's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from hardening_api.pods import PodOverrides
from hardening_api.run import HardeningRun
from hardening_operator.resources.claims import MOUNT, Holder, workspace_of
from hardening_operator.resources.environment import AWS_KEYS, RESERVED
from hardening_operator.resources.volumes import CONFIG_FOLDER, PREFIX, SECRETS_FOLDER

OUR_PATHS = (MOUNT, CONFIG_FOLDER, SECRETS_FOLDER)
SHAPES = {
    "tolerations": "V1Toleration",
    "affinity": "V1Affinity",
    "env": "V1EnvVar",
    "volumes": "V1Volume",
    "volumeMounts": "V1VolumeMount",
}
"""By field: the Kubernetes client's model of it, or of each of its items."""


def override_findings(run: HardeningRun) -> Iterator[str]:
    """Yield one line a finding in `spec.stages`."""
    for name, overrides in run.spec.stages:
        place = f"spec.stages.{type(run.spec.stages).model_fields[name].alias or name}"
        yield from pod_findings(overrides, place, run)


def pod_findings(overrides: PodOverrides, place: str, holder: Holder) -> Iterator[str]:
    """Yield one line a finding in the overrides at ``place``, for pods in the workspace of ``holder``."""
    misshapen = list(_misshapen(overrides, place))
    yield from misshapen
    if not misshapen:
        yield from _volumes(overrides, place)
        yield from _environment(holder, overrides, place)


def _misshapen(overrides: PodOverrides, place: str) -> Iterator[str]:
    """The API server answers these with an error of its own, which tells nobody that the run is at fault."""
    given = overrides.model_dump(by_alias=True)
    for field, shape in SHAPES.items():
        value = given[field]
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _unlike(shape, item, f"{place}.{field}[{index}]")
        elif value is not None:
            yield from _unlike(shape, value, f"{place}.{field}")


def _unlike(shape: str, value: Any, place: str) -> Iterator[str]:
    from kubernetes.client import models  # noqa: PLC0415  # slow, and in the operator's installation only

    model: type[BaseModel] = getattr(models, shape)
    try:
        model.model_validate(value)
    except ValidationError as refusal:
        for error in refusal.errors(include_url=False):
            path = place + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
            yield f"{path}: {_explained(error)}"


def _explained(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "got nothing: expected a value"
    expected = {"extra_forbidden": "a field Kubernetes has", "model_type": "an object"}.get(error["type"])
    words = expected or error["msg"].removeprefix("Input should be ")
    return f"got {str(error['input'])[:80]}: expected {words}"


def _volumes(overrides: PodOverrides, place: str) -> Iterator[str]:
    names = [volume["name"] for volume in overrides.volumes]
    for index, name in enumerate(names):
        path = f"{place}.volumes[{index}].name"
        if name.startswith(PREFIX):
            yield f"{path}: got {name}: expected one that does not begin with {PREFIX}, as the operator's own do"
        elif name in names[:index]:
            yield f"{path}: got {name}: expected a name no other volume has"
    yield from _mounts([mount["mountPath"] for mount in overrides.volume_mounts], place)


def _mounts(targets: Sequence[str], place: str) -> Iterator[str]:
    for index, target in enumerate(targets):
        path = f"{place}.volumeMounts[{index}].mountPath"
        if any(f"{target}/".startswith(f"{ours}/") for ours in OUR_PATHS):
            yield f"{path}: got {target}: expected a path outside {', '.join(OUR_PATHS)}"
        elif target in targets[:index]:
            yield f"{path}: got {target}: expected a path no other mount has"


def _environment(holder: Holder, overrides: PodOverrides, place: str) -> Iterator[str]:
    reserved = {*RESERVED, *_bucket_variables(holder)}
    for index, variable in enumerate(overrides.env):
        if variable["name"] in reserved:
            path = f"{place}.env[{index}].name"
            yield f"{path}: got {variable['name']}: expected one that the operator does not set itself"


def _bucket_variables(holder: Holder) -> set[str]:
    bucket = workspace_of(holder).s3
    if bucket is None:
        return set()
    return {*(AWS_KEYS if bucket.secret_ref else ()), *(("AWS_ENDPOINT_URL",) if bucket.endpoint_url else ())}
