"""The operator's pods: which of them leads, and how to lose one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

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


def remove(system: Kubectl, pod: str) -> None:
    """Delete a pod without waiting for it, as when its node is lost."""
    system("delete", "pod", pod, "--grace-period=0", "--force")
