"""What is kept of a failed test: everything of its namespace, and the operator's logs."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.support.clients import CommandError, Kubectl


def keep(kubectl: Kubectl, folder: Path) -> None:
    """Write resources, events and logs of the namespace below `folder`, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = "all,pvc,cm,networkpolicies,hardeningruns,promotionapprovals,events"
    wanted = {
        "resources.txt": ["get", kinds, "--output=wide"],
        "resources.yaml": ["get", kinds, "--output=yaml"],
        "events.txt": ["events"],
        "pods.txt": ["describe", "pods"],
        "nodes.txt": ["describe", "nodes"],
    }
    for name, arguments in wanted.items():
        (folder / name).write_text(_said(kubectl, *arguments))
    for pod in _said(kubectl, "get", "pods", "--output=name").split():
        if pod.startswith("pod/"):
            keep_logs(kubectl, pod, folder)


def keep_logs(kubectl: Kubectl, target: str, folder: Path) -> None:
    """Write the logs of a pod, deployment or job, all containers."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _said(
        kubectl, "logs", target, "--all-containers", "--all-pods=true" if "pod/" not in target else "--tail=-1"
    )
    (folder / f"{target.replace('/', '-')}.log").write_text(text)


def _said(kubectl: Kubectl, *arguments: str) -> str:
    try:
        return kubectl(*arguments)
    except CommandError as error:
        return str(error)
