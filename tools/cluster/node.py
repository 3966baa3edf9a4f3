"""What the cluster makes on the machine itself (an address, routes, control groups, mounts), and how it goes away."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path

from tools.cluster.processes import end, start_time
from tools.cluster.settings import Settings
from tools.cluster.shell import BringUpError, output, until

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_CGROUPS = Path("/sys/fs/cgroup")
_SHIM_SOCKETS = Path("/run/containerd/s")
_NETWORK_RESULTS = Path("/var/lib/cni/results")
_CONTAINER_LOGS = Path("/var/log/containers")


def prepare(settings: Settings) -> None:
    """The cluster's address on the loopback device, forwarding between pods, and control groups for the pods."""
    (settings.run / "ip_forward").write_text(_FORWARD.read_text())
    output(["ip", "address", "replace", f"{settings.address}/32", "dev", "lo"])
    _FORWARD.write_text("1")
    for group in _group_folders(settings):
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # a new group of cgroup v1 starts with no CPU at all
            if (group / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((group.parent / name).read_text())
        control = group / "cgroup.subtree_control"
        if control.exists() and _is_unified():
            wanted = " ".join(f"+{name}" for name in (group / "cgroup.controllers").read_text().split())
            control.write_text(wanted)


def end_pods(settings: Settings) -> None:
    """Kill what runs in pods, then the shims that held it."""
    for _ in range(20):
        pids = _pod_processes(settings)
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(BringUpError):
            until("the pods' processes end", 1, lambda: not _pod_processes(settings), 0.05)
    for pid in _shims(settings):
        end(pid, 2)


def clean(settings: Settings) -> list[str]:
    """Remove mounts, network and control groups. Returns what could not be removed, in words."""
    for mount in _mounts(settings):
        _try(["umount", "--lazy", mount])
    _clean_network(settings)
    for group in _group_folders(settings):
        for folder in sorted(group.rglob("*"), reverse=True) if group.exists() else ():
            if folder.is_dir():
                with contextlib.suppress(OSError):
                    folder.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
    _clean_traces(settings)
    return leftovers(settings)


def leftovers(settings: Settings) -> list[str]:
    """Processes, mounts, devices, tables and groups of the cluster that are on the machine now."""
    found = [f"mount {mount}" for mount in _mounts(settings)]
    found += [f"process {pid} in a pod" for pid in _pod_processes(settings)]
    found += [f"process {pid}, a container's shim" for pid in _shims(settings)]
    found += [f"process {pid}: {command[:80]}" for pid, command in _commands() if str(settings.run) in command]
    found += [f"control group {group}" for group in _group_folders(settings) if group.exists()]
    if f" {settings.address}/" in output(["ip", "-4", "address"]):
        found.append(f"address {settings.address}")
    routes = output(["ip", "-4", "route"]).splitlines()
    prefix = settings.pods.rsplit(".", 2)[0] + "."
    found += [f"route {route}" for route in routes if route.startswith(prefix)]
    if shutil.which("nft"):
        tables = output(["nft", "list", "tables"]).splitlines()
        found += [f"nft {table}" for table in tables if table.endswith(" kube-proxy")]
    return found


def _clean_network(settings: Settings) -> None:
    for family in ("ip", "ip6"):
        _try(["nft", "delete", "table", family, "kube-proxy"])
    for route in output(["ip", "-4", "route"]).splitlines():
        words = route.split()
        if words[0].startswith(settings.pods.rsplit(".", 2)[0] + ".") and "dev" in words:
            _try(["ip", "link", "delete", words[words.index("dev") + 1]])
    _try(["ip", "address", "delete", f"{settings.address}/32", "dev", "lo"])
    before = settings.run / "ip_forward"
    if before.exists():
        _FORWARD.write_text(before.read_text())


def _clean_traces(settings: Settings) -> None:
    """Files that containerd, CNI and the kubelet write at fixed places outside the folder."""
    for path in _NETWORK_RESULTS.glob("*"):
        if str(settings.run) in path.read_text(errors="replace"):
            path.unlink(missing_ok=True)
    for path in _CONTAINER_LOGS.glob("*"):
        if path.is_symlink() and str(settings.run) in str(path.readlink()):
            path.unlink(missing_ok=True)
    for path in _SHIM_SOCKETS.glob("*"):
        if not _answers(path):
            path.unlink(missing_ok=True)
    for folder in (_NETWORK_RESULTS, _NETWORK_RESULTS.parent, _CONTAINER_LOGS, _SHIM_SOCKETS, _SHIM_SOCKETS.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def _is_unified() -> bool:
    return (_CGROUPS / "cgroup.controllers").exists()


def _group_folders(settings: Settings) -> list[Path]:
    if _is_unified():
        return [_CGROUPS / settings.name]
    return [path / settings.name for path in _CGROUPS.iterdir() if path.is_dir() and path.name != "unified"]


def _pod_processes(settings: Settings) -> list[int]:
    pids: set[int] = set()
    for group in _group_folders(settings):
        for path in group.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                pids.update(int(word) for word in path.read_text().split())
    return [pid for pid in sorted(pids) if start_time(pid) is not None]


def _shims(settings: Settings) -> list[int]:
    socket_path = str(settings.containerd_socket)
    return [pid for pid, command in _commands() if "containerd-shim" in command and socket_path in command]


def _commands() -> list[tuple[int, str]]:
    """Every process's id and command line, but for this one's and its parents'."""
    own = set()
    pid = os.getpid()
    while pid > 1:
        own.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) not in own:
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(folder.name), command))
    return found


def _mounts(settings: Settings) -> list[str]:
    """Mount points below the cluster's folder, deepest first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [point for point in points if point.startswith((f"{settings.run}/", f"{settings.images}/"))]
    return sorted(inside, key=len, reverse=True)


def _try(argv: list[str]) -> None:
    """What is not there cannot be removed; what stays is found by `leftovers`."""
    with contextlib.suppress(BringUpError):
        output(argv)
