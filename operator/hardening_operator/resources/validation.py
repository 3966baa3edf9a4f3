"""Validates what only the pod side can know of a run or monitor, before anything starts.

The contract's own models check the rest. One line a problem: `spec.path: got VALUE: expected ...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from hardening_api.base import SecretRef, walk
from hardening_api.monitor import HardeningMonitor
from hardening_api.pods import PodOverrides
from hardening_api.run import HardeningRun, HardeningRunSpec
from hardening_operator.resources.claims import MOUNT, Holder, workspace_of
from hardening_operator.resources.environment import AWS_KEYS, RESERVED
from hardening_operator.resources.volumes import CONFIG_FOLDER, PREFIX, SECRETS_FOLDER

SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
OUR_PATHS = (MOUNT, CONFIG_FOLDER, SECRETS_FOLDER)
SHAPES = {
    "tolerations": "V1Toleration",
    "affinity": "V1Affinity",
    "env": "V1EnvVar",
    "volumes": "V1Volume",
    "volumeMounts": "V1VolumeMount",
}
"""By field: the Kubernetes client's model of it, or of each of its items."""


def run_problems(run: HardeningRun) -> list[str]:
    """Return one line a problem; an empty list for a run that pods can carry out."""
    volumes = "spec.stages.all.volumes"
    return [*_values(run.spec, volumes), *unsupported_targets(run.spec), *_nodes(run), *_overrides(run)]


def monitor_problems(monitor: HardeningMonitor) -> list[str]:
    """Return one line a problem; an empty list for a monitor whose checks pods can carry out."""
    return [*_values(monitor.spec, "spec.pod.volumes"), *_pod(monitor.spec.pod, "spec.pod", monitor)]


def unsupported_targets(spec: HardeningRunSpec) -> Iterator[str]:
    """Yield one line for each promotion target that this version cannot write to."""
    for index, target in enumerate(spec.promotion.targets):
        if target.type == "MLflow":
            place = f"spec.promotion.targets[{index}].type"
            yield f"{place}: got MLflow: expected Workspace or S3, which this version writes"


def _values(spec: BaseModel, volumes: str) -> Iterator[str]:
    for path, value in walk(spec, "spec"):
        if isinstance(value, SecretRef) and not SECRET_NAME.fullmatch(value.name):
            yield f"{path}.name: got {value.name}: expected the name of a Secret: lower-case letters, digits, - and ."
        elif path.endswith(".uri") and isinstance(value, str) and re.match(r"file://(?!/)", value):
            yield (
                f"{path}: got {value}: expected an absolute file:// path inside the pod, such as one of a volume that "
                f"{volumes} mounts, or package://, hf:// or s3://"
            )


def _nodes(run: HardeningRun) -> Iterator[str]:
    nodes = run.spec.training.nodes
    if nodes > 1 and run.spec.workspace.s3 is not None:
        yield (
            f"spec.training.nodes: got {nodes}: expected 1 with workspace.s3, since all nodes of a training resume "
            "from the same checkpoint: use workspace.persistentVolumeClaim"
        )


def _overrides(run: HardeningRun) -> Iterator[str]:
    """Problems in `spec.stages`."""
    for name, overrides in run.spec.stages:
        place = f"spec.stages.{type(run.spec.stages).model_fields[name].alias or name}"
        yield from _pod(overrides, place, run)


def _pod(overrides: PodOverrides, place: str, holder: Holder) -> Iterator[str]:
    """Problems in the overrides at ``place``, for pods in the workspace of ``holder``."""
    misshapen = list(_misshapen(overrides, place))
    yield from misshapen
    if not misshapen:
        yield from _volumes(overrides, place)
        yield from _environment(holder, overrides, place)


def _misshapen(overrides: PodOverrides, place: str) -> Iterator[str]:
    """The API server's own error for these does not say that the run is at fault."""
    given = overrides.model_dump(by_alias=True)
    for field, shape in SHAPES.items():
        value = given[field]
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _unlike(shape, item, f"{place}.{field}[{index}]")
        elif value is not None:
            yield from _unlike(shape, value, f"{place}.{field}")


def _unlike(shape: str, value: Any, place: str) -> Iterator[str]:
    from kubernetes.client import models  # noqa: PLC0415  # slow

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
