"""A control plane of its own for simulated nodes, and the operator as a process of this machine.

The programs are those of `make cluster-up`, which builds them; without a kubelet and its containers. It listens on an
address of its own (root), so it does not matter whether that cluster runs too. The chart installs what the operator
needs, above all its rights: the process speaks with the token of the chart's service account, as its pod would.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cluster_harness import Samples, kubectl_of, scraped, total
from tests.cluster.conftest import CHART, RELEASE, SYSTEM, image_values
from tests.cluster.support.clients import Helm, Kubectl
from tools.cluster import cluster as bringup
from tools.cluster import processes
from tools.cluster.certificates import make_certificates
from tools.cluster.components import components, files
from tools.cluster.processes import Component
from tools.cluster.settings import Settings, from_environment
from tools.cluster.shell import output
from tools.cluster.tools import NODE_TOOLS, build

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
IMAGES = {"operator": "simulated:1", "trainer": "simulated:1"}
METRICS_PORT, HEALTH_PORT = 18080, 18081
START_SECONDS = 60.0


@contextmanager
def control_plane() -> Iterator[Settings]:
    """Start it, and end it without leaving anything but its logs."""
    shared = from_environment()
    settings = Settings(shared.cache, shared.cache / "control-plane", "hardening-control-plane", address="10.202.0.2")
    programs = build(settings, [*NODE_TOOLS, "kwok", "helm"])
    parts = components(settings, programs)
    for folder in (settings.run, settings.logs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    output(["ip", "address", "replace", f"{settings.address}/32", "dev", "lo"])
    try:
        make_certificates(settings)
        (settings.run / "audit-policy.json").write_text(files(settings)["audit-policy.json"])
        for name in PARTS:
            processes.start(settings, parts[name])
            if name == "kube-apiserver":
                bringup.wait_for_api(settings)
        yield settings
    finally:
        for name in reversed(PARTS):
            processes.stop(settings, name)
        output(["ip", "address", "delete", f"{settings.address}/32", "dev", "lo"])
        shutil.rmtree(settings.run)


@contextmanager
def simulated_nodes(settings: Settings, count: int, stages: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Nodes with GPUs whose pods fare as ``stages`` (of kwok) say."""
    config = settings.run / "kwok-stages.json"
    config.write_text("\n---\n".join(json.dumps(stage) for stage in stages))
    argv = [str(settings.cache / "bin" / "kwok"), f"--kubeconfig={settings.kubeconfig}", f"--config={config}"]
    argv += ["--manage-nodes-with-label-selector=type=kwok", "--node-lease-duration-seconds=40"]
    processes.start(settings, Component("kwok", argv))
    try:
        bringup.simulate_nodes(settings, count)
        yield
    finally:
        processes.stop(settings, "kwok")


def install(settings: Settings) -> None:
    """Install the chart; its pods, which no node takes here, are not wanted."""
    helm = Helm(str(settings.cache / "bin" / "helm"), settings.kubeconfig)
    helm("install", RELEASE, CHART, f"--namespace={SYSTEM}", "--create-namespace", *image_values(IMAGES))
    kubectl_of(settings).within(SYSTEM)("scale", "deployment", "--all", "--replicas=0")


@dataclass(frozen=True)
class Operator:
    """The operator's process."""

    user: str
    """Who it is to the API server."""

    def scrape(self) -> Samples:
        """Return its metrics, as Prometheus would get them."""
        return scraped("127.0.0.1", METRICS_PORT)


@contextmanager
def operator(settings: Settings) -> Iterator[Operator]:
    """A new process of the operator, with the settings the chart gives it; yields once it leads."""
    system = kubectl_of(settings).within(SYSTEM)
    [deployment] = system.items("deployments")
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    env = given | {
        "KUBECONFIG": str(_kubeconfig(settings, system, account)),
        "HARDENING_OPERATOR_NAMESPACE": SYSTEM,
        "HARDENING_METRICS_PORT": str(METRICS_PORT),
        "HARDENING_HEALTH_PORT": str(HEALTH_PORT),
        "NO_PROXY": settings.address,
    }
    found = Operator(f"system:serviceaccount:{SYSTEM}:{account}")
    processes.start(settings, Component("operator", [sys.executable, "-m", "hardening_operator"]), os.environ | env)
    try:
        _until_it_leads(settings, found)
        yield found
    finally:
        processes.stop(settings, "operator", 30)


def _kubeconfig(settings: Settings, system: Kubectl, account: str) -> Path:
    token = system("create", "token", account, "--duration=24h").strip()
    authority = base64.b64encode(settings.pki("ca.crt").read_bytes()).decode()
    cluster = {"server": settings.server, "certificate-authority-data": authority}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": settings.name, "cluster": cluster}],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": settings.name, "context": {"cluster": settings.name, "user": account}}],
        "current-context": settings.name,
    }
    path = settings.pki("operator.kubeconfig")
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def _until_it_leads(settings: Settings, found: Operator) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if total(found.scrape(), "hardening_operator_leader") == 1:
                return
        except OSError:
            pass  # it has only begun
        if time.monotonic() > deadline or not processes.is_running(settings, "operator"):
            raise SystemExit(f"the operator does not lead: see {settings.logs.name}/operator.log")
        time.sleep(0.5)
