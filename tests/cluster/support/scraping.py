"""Prometheus as docs/monitoring.md sets it up without Prometheus' operator, but outside the cluster, every second.

Debian builds Prometheus without its discovery of Kubernetes, so pods are listed for it here, with the labels that it
would give them itself and a service account's own rights; what is kept of them is as the page says.
"""

from __future__ import annotations

import json
import re
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

from tests.cluster.support.clients import Kubectl
from tests.support.http_servers import serving
from tests.support.pages import ROOT, blocks
from tools.cluster.settings import Settings

ACCOUNT = "prometheus"
RIGHTS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
META = "__meta_kubernetes_"


def documented_config() -> dict[str, Any]:
    """The configuration that the page shows."""
    page = ROOT / "docs" / "monitoring.md"
    [block] = [block for block in blocks(page) if block.words == ("prometheus.yaml",)]
    config: dict[str, Any] = yaml.safe_load(block.text)
    return config


def scrape_config(discovery: str) -> dict[str, Any]:
    """That configuration, with the pods that `discovery` lists."""
    config = documented_config()
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        job |= {"scrape_interval": "1s", "http_sd_configs": [{"url": discovery, "refresh_interval": "1s"}]}
    return config | {"global": {"evaluation_interval": "1s"}}


def selected(space: Kubectl, kind: str, selector: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that a selector of Prometheus' operator finds."""
    return space.items(kind, ",".join(f"{label}={value}" for label, value in selector["matchLabels"].items()))


class Discovery(ThreadingHTTPServer):
    """Lists the pods of the cluster to Prometheus, as a service account that may do only that."""

    def __init__(self, settings: Settings, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._context = ssl.create_default_context(cafile=str(settings.pki("ca.crt")))
        address, headers = f"{settings.server}/api/v1/pods", {"Authorization": f"Bearer {token}"}
        self._request = urllib.request.Request(address, headers=headers)

    def targets(self) -> list[dict[str, Any]]:
        """A target for each port of each pod that has an address."""
        with urllib.request.urlopen(self._request, context=self._context, timeout=10) as answer:
            pods = json.load(answer)["items"]
        return [
            {"targets": [f"{pod['status']['podIP']}:{port['containerPort']}"], "labels": _labels(pod, port)}
            for pod in pods
            for container in pod["spec"]["containers"]
            for port in container.get("ports", [])
            if pod["status"].get("podIP")
        ]


def _labels(pod: dict[str, Any], port: dict[str, Any]) -> dict[str, str]:
    own = {f"{META}pod_label_{re.sub('[^a-zA-Z0-9_]', '_', name)}": value
           for name, value in pod["metadata"].get("labels", {}).items()}  # fmt: skip
    return own | {
        f"{META}namespace": pod["metadata"]["namespace"],
        f"{META}pod_name": pod["metadata"]["name"],
        f"{META}pod_phase": pod["status"]["phase"],
        f"{META}pod_container_port_name": port.get("name", ""),
    }


class _Handler(BaseHTTPRequestHandler):
    server: Discovery

    def do_GET(self) -> None:
        data = json.dumps(self.server.targets()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output free of requests."""


@contextmanager
def discovery(settings: Settings, space: Kubectl) -> Iterator[str]:
    """List pods until the block ends; yields the address that Prometheus asks."""
    name = f"{ACCOUNT}-{space.namespace}"
    server = Discovery(settings, _token(space, name))
    try:
        with serving(server):
            yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        space("delete", "clusterrole,clusterrolebinding", name, "--ignore-not-found")


def _token(space: Kubectl, name: str) -> str:
    """A token of an account that may read pods, as the page says."""
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": space.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    space.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}},
        rbac | {"kind": "ClusterRole", "rules": [RIGHTS]},
        rbac | {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
    )
    return space("create", "token", ACCOUNT, "--duration=2h").strip()
