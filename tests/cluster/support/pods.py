"""Small pods to try a cluster with, which Pod Security "restricted" admits; and how any pod is killed."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from typing import Any

from tests.cluster.support.clients import Kubectl
from tools.cluster import images
from tools.cluster.settings import Settings

GROUP = 65532


def python_pod(name: str, image: str, code: str, **spec: Any) -> dict[str, Any]:
    """A pod that runs `code` once. `spec` adds to the pod's spec; `container` in it adds to the container."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": python_spec(image, code, **spec)}


def python_job(name: str, image: str, code: str, job: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A Job around such a pod; `job` adds to the Job's spec."""
    template = {"metadata": {"labels": {"job": name}}, "spec": python_spec(image, code, **spec)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, **(job or {}), "template": template},
    }


def python_spec(image: str, code: str, container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """The pod's spec: not root, read-only root, no privileges, volumes writable for its group."""
    main = {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", code],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **(container or {}),
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": GROUP,
            "runAsGroup": GROUP,
            "fsGroup": GROUP,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [main],
        **spec,
    }


def claim(
    name: str, size: str = "64Mi", mode: str = "ReadWriteOnce", storage_class: str | None = None
) -> dict[str, Any]:
    """A PersistentVolumeClaim; without a class, of the cluster's default one."""
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def mounted(claim_name: str, path: str = "/data") -> dict[str, Any]:
    """What `python_pod` takes to mount a claim."""
    return {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}],
        "container": {"volumeMounts": [{"name": "data", "mountPath": path}]},
    }


def kill(settings: Settings, space: Kubectl, pod: str) -> datetime:
    """`kill -9` the process of a pod's one container, as the kernel does when memory runs out. Returns when."""
    [status] = space.get("pod", pod)["status"]["containerStatuses"]
    container = status["containerID"].removeprefix("containerd://")
    tasks = (line.split() for line in images.ctr(settings, "tasks", "list").splitlines())
    os.kill(next(int(words[1]) for words in tasks if words[0] == container), signal.SIGKILL)
    return datetime.now(UTC)
