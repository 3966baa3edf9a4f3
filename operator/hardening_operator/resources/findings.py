"""What of a run no pod can use, told before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from hardening_api.base import SecretRef
from hardening_api.run import HardeningRun, PodOverrides
from hardening_operator.resources.claims import MOUNT
from hardening_operator.resources.environment import AWS_KEYS, RESERVED
from hardening_operator.resources.volumes import CONFIG_FOLDER, PREFIX, SECRETS_FOLDER

SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
OUR_PATHS = (MOUNT, CONFIG_FOLDER, SECRETS_FOLDER)


def unusable(run: HardeningRun) -> list[str]:
    """Return one line a finding, `spec.path: got VALUE: expected ...`; an empty list for a run that pods can do."""
    return [*_values(run), *_targets(run), *_nodes(run), *_overrides(run)]


def _values(run: HardeningRun) -> Iterator[str]:
    for path, value in _leaves(run.spec, "spec"):
        if isinstance(value, SecretRef) and not SECRET_NAME.fullmatch(value.name):
            yield f"{path}.name: got {value.name}: expected the name of a Secret: lower-case letters, digits, - and ."
        elif path.endswith(".uri") and isinstance(value, str) and re.match(r"file://(?!/)", value):
            yield (
                f"{path}: got {value}: expected an absolute file:// path inside the pod, such as one of a volume that "
                "spec.stages.all.volumes mounts, or package://, hf:// or s3://"
            )


def _targets(run: HardeningRun) -> Iterator[str]:
    for index, target in enumerate(run.spec.promotion.targets):
        if target.type == "MLflow":
            yield (
                f"spec.promotion.targets[{index}].type: got MLflow: expected Workspace or S3, which this version writes"
            )


def _nodes(run: HardeningRun) -> Iterator[str]:
    nodes = run.spec.training.nodes
    if nodes > 1 and run.spec.workspace.s3 is not None:
        yield (
            f"spec.training.nodes: got {nodes}: expected 1 with workspace.s3, since all nodes of a training go on from "
            "the same checkpoint: use workspace.persistentVolumeClaim"
        )


def _overrides(run: HardeningRun) -> Iterator[str]:
    for name, overrides in run.spec.stages:
        alias = type(run.spec.stages).model_fields[name].alias or name
        yield from _volumes(overrides, f"spec.stages.{alias}")
        yield from _environment(run, overrides, f"spec.stages.{alias}")


def _volumes(overrides: PodOverrides, place: str) -> Iterator[str]:
    for index, volume in enumerate(overrides.volumes):
        path, name = f"{place}.volumes[{index}].name", volume.get("name")
        if not _is_text(name):
            yield f"{path}: got {_shown(name)}: expected a name"
        elif str(name).startswith(PREFIX):
            yield f"{path}: got {name}: expected one that does not begin with {PREFIX}, as the operator's own do"
    for index, mount in enumerate(overrides.volume_mounts):
        path, target = f"{place}.volumeMounts[{index}].mountPath", mount.get("mountPath")
        if not _is_text(mount.get("name")):
            yield f"{place}.volumeMounts[{index}].name: got {_shown(mount.get('name'))}: expected a volume's name"
        if not _is_text(target):
            yield f"{path}: got {_shown(target)}: expected an absolute path"
        elif any(f"{target}/".startswith(f"{ours}/") for ours in OUR_PATHS):
            yield f"{path}: got {target}: expected a path outside {', '.join(OUR_PATHS)}"


def _environment(run: HardeningRun, overrides: PodOverrides, place: str) -> Iterator[str]:
    reserved = {*RESERVED, *_bucket_variables(run)}
    for index, variable in enumerate(overrides.env):
        path, name = f"{place}.env[{index}].name", variable.get("name")
        if not _is_text(name):
            yield f"{path}: got {_shown(name)}: expected a name"
        elif name in reserved:
            yield f"{path}: got {name}: expected one that the operator does not set itself"


def _bucket_variables(run: HardeningRun) -> set[str]:
    bucket = run.spec.workspace.s3
    if bucket is None:
        return set()
    return {*(AWS_KEYS if bucket.secret_ref else ()), *(("AWS_ENDPOINT_URL",) if bucket.endpoint_url else ())}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:80]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value of a contract with its path, SecretRefs as a whole."""
    if isinstance(value, BaseModel) and not isinstance(value, SecretRef):
        for name, field in value:
            alias = type(value).model_fields[name].alias or name
            yield from _leaves(field, f"{path}.{alias}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value
