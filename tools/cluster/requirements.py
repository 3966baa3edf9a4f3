"""What the machine must have: whatever is missing is named before anything is built or started."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tools.cluster.settings import Settings
from tools.cluster.shell import BringUpError, output
from tools.cluster.tools import NODE_TOOLS, binary

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_CGROUPS = Path("/sys/fs/cgroup")
_FILE_SYSTEMS = Path("/proc/filesystems")
_PROBE = "hard-probe"


def require_rights(settings: Settings) -> None:
    """Root, and Go where something must still be built. Raises BringUpError."""
    if os.geteuid():
        raise BringUpError("not root: the cluster makes network devices, mounts and control groups: run it as root")
    unbuilt = [name for name in NODE_TOOLS if not binary(settings, name).exists()]
    if unbuilt and not shutil.which("go"):
        raise BringUpError(
            f"go is missing: install Go 1.26 or newer (https://go.dev/dl): it builds {', '.join(unbuilt)}, once"
        )


def require_kernel() -> None:
    """What containers need of the kernel. Raises BringUpError naming all that is missing."""
    missing = list(_missing())
    if missing:
        raise BringUpError("this machine cannot run containers: " + "; ".join(missing))


def require_space(settings: Settings, gib: int, image: str) -> None:
    """Room for an image where images are kept. Raises BringUpError."""
    free = shutil.disk_usage(settings.cache).free / 2**30
    if free < gib:
        raise BringUpError(
            f"{settings.cache}: {free:.0f} GiB free: expected {gib} to build {image}: "
            "make room, or set HARDENING_CLUSTER_CACHE to another disk"
        )


def _missing() -> Iterator[str]:
    if "overlay" not in _FILE_SYSTEMS.read_text().split() and not _works("modprobe", "overlay"):
        yield "the kernel has no overlay file system (CONFIG_OVERLAY_FS)"
    if not _works("nft", "list", "tables"):
        yield "nftables do not work (CONFIG_NF_TABLES, CAP_NET_ADMIN)"
    if not _works("unshare", "--net", "--mount", "--pid", "--fork", "true"):
        yield "no namespaces can be made (CAP_SYS_ADMIN)"
    if _works("ip", "link", "add", _PROBE, "type", "veth", "peer", "name", f"{_PROBE}2"):
        output(["ip", "link", "delete", _PROBE])
    else:
        yield "no veth devices can be made (CONFIG_VETH, CAP_NET_ADMIN)"
    if not os.access(_FORWARD, os.W_OK):
        yield f"{_FORWARD} cannot be written: pods could not reach each other"
    unified = (_CGROUPS / "cgroup.controllers").exists()
    if not unified and not all((_CGROUPS / name).is_dir() for name in ("cpu", "memory", "pids")):
        yield f"no control groups for cpu, memory and pids are mounted at {_CGROUPS}"


def _works(*argv: str) -> bool:
    with contextlib.suppress(BringUpError, FileNotFoundError):
        output(argv)
        return True
    return False
