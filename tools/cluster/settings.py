"""Where the cluster lives: folders, addresses and ports, all in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
REPOSITORY = SOURCE.parent.parent
KUBERNETES_VERSION = "v1.34.4"


@dataclass(frozen=True)
class Settings:
    """One cluster. Everything listens on `address`, an address of its own, so no port of the machine is taken."""

    cache: Path
    folder: Path
    name: str = "hardening-cluster"
    node: str = "hardening-node"
    address: str = "10.202.0.1"
    pods: str = "10.200.0.0/20"
    services: str = "10.201.0.0/20"
    first_service: str = "10.201.0.1"
    dns_service: str = "10.201.0.10"
    api_port: int = 6443
    etcd_port: int = 2379
    dns_port: int = 5353
    gpus: int = 8

    @property
    def temporary(self) -> Path:
        """Locks, and what is being built."""
        return self.cache / "tmp"

    @property
    def run(self) -> Path:
        """What one life of the cluster needs; removed by `down`."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        """One file per process, and the audit log; kept by `down`, emptied by `up`."""
        return self.folder / "logs"

    @property
    def images(self) -> Path:
        """containerd's root. Kept by `down`, so that images are loaded once."""
        return self.folder / "containerd"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.run / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Every request to the API server, metadata only, one JSON document a line."""
        return self.logs / "audit.jsonl"

    @property
    def containerd_socket(self) -> Path:
        """The container runtime's socket."""
        return self.run / "containerd" / "containerd.sock"

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.api_port}"

    def pki(self, name: str) -> Path:
        """A certificate, key or kubeconfig of the cluster's own."""
        return self.run / "pki" / name


def from_environment() -> Settings:
    """HARDENING_CLUSTER_CACHE holds built tools and images, HARDENING_CLUSTER_DIR (default: inside it) the cluster."""
    cache = Path(os.environ.get("HARDENING_CLUSTER_CACHE") or Path.home() / ".cache" / "hardening-cluster").absolute()
    return Settings(cache=cache, folder=Path(os.environ.get("HARDENING_CLUSTER_DIR") or cache / "cluster").absolute())
