"""The programs of the cluster: Debian packages, and Go programs built once from the pinned modules in tools/."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.settings import KUBERNETES_VERSION, SOURCE, Settings
from tools.cluster.shell import BringUpError, alone, say

_VERSION = "k8s.io/component-base/version"
_LINKED = {
    "kubernetes": f" -X {_VERSION}.gitVersion={KUBERNETES_VERSION} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34"
}

# command -> Debian package
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "conntrack": "conntrack",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
}


@dataclass(frozen=True)
class Tool:
    """A Go program: the folder under tools/ that pins it, and its main package, whose last part is its name."""

    module: str
    package: str


KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
# etcd and CoreDNS are small main packages of our own in the same module: what they share is compiled once.
TOOLS = {name: Tool("kubernetes", f"k8s.io/kubernetes/cmd/{name}") for name in KUBERNETES} | {
    "etcd": Tool("kubernetes", "./etcd"),
    "coredns": Tool("kubernetes", "./coredns"),
    "helm": Tool("helm", "helm.sh/helm/v4/cmd/helm"),
    "kwok": Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "kubeconform": Tool("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    "versitygw": Tool("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
}
NODE_TOOLS = (*KUBERNETES, "etcd", "coredns")
TEST_TOOLS = (*NODE_TOOLS, "helm", "kubeconform", "versitygw")


def install_packages(settings: Settings) -> None:
    """apt-get what is missing; none of it is started as a service."""
    with alone(settings.temporary, "packages"):
        _install_packages()


def _install_packages() -> None:
    missing = sorted({package for command, package in PACKAGES.items() if not shutil.which(command)} - _present_files())
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise BringUpError(f"missing, and this is no Debian: {', '.join(missing)}. Install them by hand.")
    say(f"apt-get install {' '.join(missing)}")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        _quietly(["apt-get", "-q", "update"])
        _quietly(["apt-get", "-q", "-y", "--no-install-recommends", "install", *missing])
    finally:
        if ours:
            policy.unlink()


def binary(settings: Settings, name: str) -> Path:
    """Where a tool is once built: the folder's name changes with everything that decides what is built."""
    tool = TOOLS[name]
    source = SOURCE / "go" / tool.module
    pins = [path.read_bytes() for path in (source / "go.mod", source / "go.sum", *sorted(source.glob("*/*.go")))]
    key = hashlib.sha256(b"\0".join([*pins, tool.package.encode(), _flags(tool.module).encode()])).hexdigest()[:16]
    return settings.cache / "bin" / key / name


def build(settings: Settings, names: tuple[str, ...] | list[str]) -> dict[str, Path]:
    """Build the tools that are not in the cache yet and link all of them into CACHE/bin. Returns name -> program."""
    programs = {name: binary(settings, name) for name in names}
    missing = [name for name, program in programs.items() if not program.exists()]
    for module in dict.fromkeys(TOOLS[name].module for name in missing):
        _build_together(settings, module, [name for name in missing if TOOLS[name].module == module])
    for name, program in programs.items():
        link = settings.cache / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return programs


def _build_together(settings: Settings, module: str, names: list[str]) -> None:
    """Build programs of one module with one command, which compiles one while it links another."""
    if not shutil.which("go"):
        raise BringUpError(
            "go is missing: install Go 1.26 or newer (https://go.dev/dl), it builds the cluster's programs"
        )
    say(f"building {', '.join(names)} (once)")
    with tempfile.TemporaryDirectory(dir=_folder(settings.temporary)) as unfinished:
        flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", _flags(module), "-o", f"{unfinished}/"]
        _quietly(["go", "build", *flags, *(TOOLS[name].package for name in names)], cwd=SOURCE / "go" / module)
        for name in names:
            program = binary(settings, name)
            (Path(unfinished) / name).rename(_folder(program.parent) / name)


def _flags(module: str) -> str:
    return "-s -w" + _LINKED.get(module, "")


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _present_files() -> set[str]:
    return {package for command, package in PACKAGES.items() if command.startswith("/") and Path(command).exists()}


def _quietly(argv: list[str], cwd: Path | None = None) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BringUpError(f"`{' '.join(argv[:5])} ...` ended with {done.returncode}:\n{done.stderr[-3000:]}")
