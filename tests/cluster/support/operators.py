"""The operator's pods: which of them leads, and how to end one without a word."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from typing import Any

from tests.cluster.bringup import images
from tests.cluster.bringup.settings import Settings
from tests.cluster.support.clients import Kubectl

SELECTOR = "app.kubernetes.io/name=hardening-operator"


def operator_logs(system: Kubectl) -> str:
    """What all operators in the namespace wrote."""
    pods = system.items("pods", SELECTOR)
    assert pods
    return "\n".join(system("logs", f"pod/{pod['metadata']['name']}") for pod in pods)


def leader_since(system: Kubectl, moment: datetime) -> str:
    """The pod that leads, once it has said so after `moment`."""
    [lease] = system.items("leases")

    def told(lease: dict[str, Any]) -> bool:
        spec = lease["spec"]
        return bool(spec.get("holderIdentity")) and datetime.fromisoformat(spec.get("renewTime", "")) > moment

    held = system.watch(f"lease/{lease['metadata']['name']}", told, f"renewed after {moment:%H:%M:%S}", 60)
    return str(held["spec"]["holderIdentity"])


def kill(settings: Settings, system: Kubectl, pod: str) -> datetime:
    """`kill -9` the operator's process, as the kernel does when memory runs out. Returns when."""
    [status] = system.get("pod", pod)["status"]["containerStatuses"]
    container = status["containerID"].removeprefix("containerd://")
    tasks = (line.split() for line in images.ctr(settings, "tasks", "list").splitlines())
    os.kill(next(int(words[1]) for words in tasks if words[0] == container), signal.SIGKILL)
    return datetime.now(UTC)


def remove(system: Kubectl, pod: str) -> None:
    """Delete a pod without waiting for it, as when its node is lost."""
    system("delete", "pod", pod, "--grace-period=0", "--force")
