"""What is applied to a new cluster: DNS as a Service, who may read what, storage classes."""

from __future__ import annotations

from typing import Any

from tools.cluster.settings import Settings

PROVISIONER = "hardening.dev/node-folder"
SIZED = "sized"


def addons(settings: Settings) -> dict[str, Any]:
    """One List of everything."""
    items = [*_dns(settings), *_dns_roles(), _storage_class("standard", default=True), _storage_class(SIZED)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def gpu_patch(settings: Settings) -> list[dict[str, str]]:
    """JSON patch of the node's status: GPUs with no device behind them; pods that ask for them run on the CPU."""
    return [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(settings.gpus)}]


def _dns(settings: Settings) -> list[dict[str, Any]]:
    name = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**name, "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "clusterIP": settings.dns_service,
            "ports": [
                {"name": port, "protocol": protocol, "port": 53, "targetPort": settings.dns_port}
                for port, protocol in ports
            ],
        },
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**name, "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "ports": [{"name": port, "protocol": protocol, "port": settings.dns_port} for port, protocol in ports],
        "endpoints": [{"addresses": [settings.address], "conditions": {"ready": True}}],
    }
    return [service, endpoints]


def _dns_roles() -> list[dict[str, Any]]:
    name, rbac = {"name": "system:coredns"}, "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    subject = {"apiGroup": rbac, "kind": "User", "name": "system:coredns"}
    reference = {"apiGroup": rbac, "kind": "ClusterRole", **name}
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": name, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": reference,
            "subjects": [subject],
        },
    ]


def _storage_class(name: str, *, default: bool = False) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": str(default).lower()},
        },
        "provisioner": PROVISIONER,
        "volumeBindingMode": "Immediate",
        "reclaimPolicy": "Delete",
    }
