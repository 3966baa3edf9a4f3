"""What of a run or a monitor no pod can use, told before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from hardening_api.base import SecretRef
from hardening_api.monitor import HardeningMonitor
from hardening_api.run import HardeningRun
from hardening_operator.resources.override_findings import override_findings, pod_findings
from hardening_operator.resources.targets import unsupported_targets

SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def unusable(run: HardeningRun) -> list[str]:
    """Return one line a finding, `spec.path: got VALUE: expected ...`; an empty list for a run that pods can do."""
    volumes = "spec.stages.all.volumes"
    return [*_values(run.spec, volumes), *unsupported_targets(run.spec), *_nodes(run), *override_findings(run)]


def unusable_monitor(monitor: HardeningMonitor) -> list[str]:
    """Return one line a finding, as `unusable` does; an empty list for a monitor whose checks pods can do."""
    return [*_values(monitor.spec, "spec.pod.volumes"), *pod_findings(monitor.spec.pod, "spec.pod", monitor)]


def _values(spec: BaseModel, volumes: str) -> Iterator[str]:
    for path, value in _leaves(spec, "spec"):
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
            f"spec.training.nodes: got {nodes}: expected 1 with workspace.s3, since all nodes of a training go on from "
            "the same checkpoint: use workspace.persistentVolumeClaim"
        )


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
