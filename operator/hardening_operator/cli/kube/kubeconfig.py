"""Which cluster, context and namespace are meant, as kubectl has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hardening_operator.cli.kube.faults import ClusterFault, NoCluster

DEFAULT_FILE = "~/.kube/config"
LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Where:
    """What the options --context, --namespace and --kubeconfig said."""

    context: str | None = None
    namespace: str | None = None
    kubeconfig: str | None = None

    @property
    def is_given(self) -> bool:
        """Return whether any of them was used: then a cluster is meant."""
        return self != Where()

    def as_options(self, namespace: str) -> str:
        """Return the options that lead to ``namespace`` in the same cluster again, for a command shown to a person."""
        named = {"--context": self.context, "--kubeconfig": self.kubeconfig}
        return " ".join([f"-n {namespace}", *(f"{name} {value}" for name, value in named.items() if value)])


@dataclass(frozen=True)
class Place:
    """A context of the kubeconfig files, or the pod this runs in."""

    files: str
    """Kubeconfig files, separated as in $KUBECONFIG; empty inside a pod."""
    context: str
    """Name of the context; empty inside a pod."""
    namespace: str
    """The namespace to work in."""


def find(where: Where, environ: Mapping[str, str]) -> Place:
    """Return the place that ``where`` and the kubeconfig files mean.

    Of several files the first that names a current context, or describes a context, counts; files that are absent or
    empty are passed over, as kubectl does. Without any file, a pod's own service account is used.

    Raises:
        ClusterFault: no file, an unreadable one, or no such context.
    """
    named = where.kubeconfig or environ.get("KUBECONFIG") or DEFAULT_FILE
    documents = {path: document for path in _paths(named) if (document := _read(path))}
    if where.kubeconfig and not Path(where.kubeconfig).expanduser().exists():
        raise ClusterFault(f"--kubeconfig: got {where.kubeconfig}: expected a file that exists")
    if not documents:
        return _own_pod(where, named, environ)
    contexts = _contexts(documents.values())
    current = next((name for document in documents.values() if (name := document.get("current-context"))), None)
    chosen = where.context or current
    if chosen is None:
        raise ClusterFault(f"{named}: got no current-context: expected --context with one of {_listed(contexts)}")
    if chosen not in contexts:
        raise ClusterFault(f"context: got {chosen}: expected one of {_listed(contexts)} (of {named})")
    namespace = where.namespace or contexts[chosen].get("namespace") or "default"
    if not re.fullmatch(LABEL, namespace):
        raise ClusterFault(f"namespace: got {namespace}: expected lower-case letters, digits and -")
    return Place(":".join(str(path) for path in documents), chosen, namespace)


def _paths(named: str) -> list[Path]:
    return [Path(part).expanduser() for part in named.split(":") if part]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        reason = getattr(fault, "strerror", None) or "no YAML"
        raise ClusterFault(f"{path}: got {str(reason).lower()}: expected a readable kubeconfig file") from None
    if document is not None and not isinstance(document, dict):
        raise ClusterFault(f"{path}: got {type(document).__name__}: expected a kubeconfig file")
    return document


def _contexts(documents: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for document in documents:
        for entry in document.get("contexts") or []:
            found.setdefault(entry["name"], entry.get("context") or {})
    return found


def _listed(contexts: Mapping[str, Any]) -> str:
    return ", ".join(contexts) or "none"


def _own_pod(where: Where, named: str, environ: Mapping[str, str]) -> Place:
    if where.context is None and "KUBERNETES_SERVICE_HOST" in environ and POD_NAMESPACE.exists():
        return Place("", "", where.namespace or POD_NAMESPACE.read_text().strip())
    raise NoCluster(f"no cluster is named: {named} does not exist or is empty: name a file by --kubeconfig")
