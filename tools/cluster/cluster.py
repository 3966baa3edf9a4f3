"""Up, down, and single parts of the cluster."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import ssl
import struct
import time
import urllib.error
import urllib.request
from pathlib import Path

from tools.cluster import images, node, processes, tools
from tools.cluster.addons import addons, gpu_patch
from tools.cluster.certificates import make_certificates
from tools.cluster.components import ORDER, components, files
from tools.cluster.processes import Component
from tools.cluster.requirements import require_kernel, require_rights
from tools.cluster.settings import Settings
from tools.cluster.shell import BringUpError, output, say, until


def up(settings: Settings) -> None:
    """Build what is missing and start the cluster, unless it runs. A half-started one is taken down first."""
    if is_up(settings):
        say(f"already up: {settings.kubeconfig}")
        return
    require_rights(settings)
    tools.install_packages(settings)
    require_kernel()
    programs = tools.build(settings, tools.NODE_TOOLS)
    began = time.monotonic()
    down(settings)
    shutil.rmtree(settings.logs, ignore_errors=True)
    for folder in (settings.run, settings.logs, settings.images):
        folder.mkdir(parents=True, exist_ok=True)
    _start_all(settings, programs)
    say(f"up in {time.monotonic() - began:.0f} s: {settings.kubeconfig}")


def down(settings: Settings) -> None:
    """End everything, last started first, and remove all that it made but built tools, images and logs."""
    if not settings.run.exists():
        return
    if processes.started_names(settings):
        say("taking the cluster down")
    for name in reversed([name for name in ORDER if name not in ("containerd", "etcd", "kube-apiserver")]):
        processes.stop(settings, name)
    for name in processes.started_names(settings):
        if name not in ORDER:
            processes.stop(settings, name)
    node.end_pods(settings)
    _forget_containers(settings)
    for name in ("kube-apiserver", "etcd", "containerd"):
        processes.stop(settings, name)
    node.clean(settings)
    shutil.rmtree(settings.run, ignore_errors=True)
    left = node.leftovers(settings)
    if settings.run.exists():
        left.append(f"folder {settings.run}")
    if left:
        raise BringUpError("could not remove everything:\n" + "\n".join(left))


def restart(settings: Settings, name: str) -> None:
    """End one process and start it again with the same settings; waits until it serves."""
    stop(settings, name)
    start(settings, name)


def stop(settings: Settings, name: str) -> None:
    """End one process of the cluster. Pods keep running when the container runtime or the kubelet ends."""
    processes.stop(settings, _known(name))


def start(settings: Settings, name: str) -> None:
    """Start one process of the cluster again. Raises BringUpError when the cluster is down."""
    if not settings.kubeconfig.exists():
        raise BringUpError(f"{name}: the cluster is down: `make cluster-up` starts all of it")
    programs = {tool: tools.binary(settings, tool) for tool in tools.NODE_TOOLS}
    _write_files(settings)
    processes.start(settings, components(settings, programs)[_known(name)])
    if name == "kube-apiserver":
        wait_for_api(settings)
    if name == "kubelet":
        _wait_for_node(settings)


def is_up(settings: Settings) -> bool:
    """Whether every process runs and the API server answers; on a busy machine that takes a while."""
    if not all(processes.is_running(settings, name) for name in ORDER):
        return False
    with contextlib.suppress(BringUpError):
        wait_for_api(settings)
        return True
    return False


def kubectl(settings: Settings, *arguments: str, given: str | None = None) -> str:
    """Run the cluster's own kubectl as administrator."""
    return output([tools.binary(settings, "kubectl"), "--kubeconfig", settings.kubeconfig, *arguments], given=given)


def simulate_nodes(settings: Settings, count: int) -> None:
    """Add `count` nodes with GPUs that exist only in the API; kwok plays their kubelets and ends their pods' work."""
    program = tools.build(settings, ["kwok"])["kwok"]
    argv = [str(program), f"--kubeconfig={settings.kubeconfig}", "--manage-nodes-with-label-selector=type=kwok"]
    processes.start(settings, Component("kwok", [*argv, f"--node-ip={settings.address}", "--cidr=10.199.0.0/16"]))
    items = [_simulated_node(settings, number) for number in range(count)]
    kubectl(settings, "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl(settings, "wait", "--for=condition=Ready", "node", "--selector=type=kwok", "--timeout=60s")


def wait_for_api(settings: Settings) -> None:
    """Until the API server says it is ready. Raises BringUpError after 60 s."""
    until(f"the API server is ready (see {settings.logs})", 60, lambda: _api_answers(settings))


def _start_all(settings: Settings, programs: dict[str, Path]) -> None:
    node.prepare(settings)
    make_certificates(settings)
    _write_files(settings)
    parts = components(settings, programs)
    for name in ("containerd", "etcd", "kube-apiserver"):
        processes.start(settings, parts[name])
    _wait_for_containerd(settings)
    images.ensure_pause(settings)
    wait_for_api(settings)
    kubectl(settings, "apply", "-f", "-", given=json.dumps(addons(settings)))
    for name in ORDER[3:]:
        processes.start(settings, parts[name])
    _wait_for_node(settings)
    until("DNS answers", 30, lambda: _resolves(settings, "kubernetes.default.svc.cluster.local"))


def _write_files(settings: Settings) -> None:
    """Write what is not there yet: kube-proxy ends when its file is written again, be it with the same content."""
    for name, content in files(settings).items():
        path = settings.run / name
        if not path.exists() or path.read_text() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


def _wait_for_containerd(settings: Settings) -> None:
    def answers() -> bool:
        with contextlib.suppress(BringUpError):
            return bool(images.ctr(settings, "version"))
        return False

    until(f"containerd answers (see {settings.logs / 'containerd.log'})", 30, answers)


def _wait_for_node(settings: Settings) -> None:
    def has_gpus() -> bool:
        path = "jsonpath={.status.allocatable.nvidia\\.com/gpu}"
        return kubectl(settings, "get", "node", settings.node, "--output", path) == str(settings.gpus)

    until(
        "the kubelet registers its node",
        60,
        lambda: settings.node in kubectl(settings, "get", "nodes", "--output=name"),
    )
    kubectl(settings, "wait", "--for=condition=Ready", f"node/{settings.node}", "--timeout=90s")
    patch = json.dumps(gpu_patch(settings))
    kubectl(settings, "patch", "node", settings.node, "--subresource=status", "--type=json", "--patch", patch)
    until("the node offers its GPUs", 60, has_gpus)


def _forget_containers(settings: Settings) -> None:
    """Take the pods' containers out of containerd's books, which are kept with the images."""
    if not (settings.run / "containerd.toml").exists():
        return
    argv = ["containerd", "--config", str(settings.run / "containerd.toml")]
    processes.start(settings, Component("containerd", argv))
    _wait_for_containerd(settings)
    for kind in ("tasks", "containers"):
        names = images.ctr(settings, kind, "list", "--quiet").split()
        if names:
            with contextlib.suppress(BringUpError):  # a task whose shim was killed is gone when containerd notices
                images.ctr(settings, kind, "remove", *(["--force"] if kind == "tasks" else []), *names)
    left = images.ctr(settings, "containers", "list", "--quiet").split()
    if left:
        raise BringUpError(f"containerd keeps {len(left)} containers: see {settings.logs / 'containerd.log'}")


def _api_answers(settings: Settings) -> bool:
    if not settings.kubeconfig.exists():
        return False
    context = ssl.create_default_context(cafile=str(settings.pki("ca.crt")))
    context.load_cert_chain(settings.pki("admin.crt"), settings.pki("admin.key"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"{settings.server}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _resolves(settings: Settings, name: str) -> bool:
    """Ask the cluster's DNS, through its Service, for the name's IPv4 address."""
    number = secrets.randbelow(65536)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        try:
            client.sendto(question, (settings.dns_service, 53))
            answer = client.recv(512)
        except OSError:
            return False
    identifier, _, _, answers = struct.unpack(">HHHH", answer[:8])
    return bool(identifier == number and answers)


def _simulated_node(settings: Settings, number: int) -> dict[str, object]:
    resources = {"cpu": "64", "memory": "512Gi", "pods": "500", "nvidia.com/gpu": str(settings.gpus)}
    name = f"simulated-{number:03d}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"type": "kwok", "kubernetes.io/hostname": name}},
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": resources, "capacity": resources},
    }


def _known(name: str) -> str:
    full = name if name in ORDER else f"kube-{name}"
    if full not in ORDER:
        raise BringUpError(f"{name}: no such process, expected one of {', '.join(ORDER)}")
    return full
