"""What each part of the control plane and the node is started with. Pure: settings in, command lines and files out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tools.cluster.processes import Component
from tools.cluster.settings import REPOSITORY, Settings

# In the order they start; `down` goes backwards.
ORDER = (
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "coredns",
    "kube-proxy",
    "volumes",
    "kubelet",
)
PAUSE_IMAGE = "localhost/hardening/pause:1"
# With the default of 20 requests a second, a thousand runs would wait for the Job controller all the time.
_CLIENT_LIMITS = ("--kube-api-qps=500", "--kube-api-burst=1000")


def components(settings: Settings, tools: dict[str, Path]) -> dict[str, Component]:
    """Every process of the cluster by name."""
    argv = {
        "containerd": ["containerd", "--config", str(settings.run / "containerd.toml")],
        "etcd": [str(tools["etcd"]), *_etcd(settings)],
        "kube-apiserver": [str(tools["kube-apiserver"]), *_apiserver(settings)],
        "kube-controller-manager": [str(tools["kube-controller-manager"]), *_controller_manager(settings)],
        "kube-scheduler": [str(tools["kube-scheduler"]), *_scheduler(settings)],
        "coredns": [str(tools["coredns"]), "-conf", str(settings.run / "Corefile")],
        "kube-proxy": [str(tools["kube-proxy"]), "--config", str(settings.run / "kube-proxy.json")],
        "volumes": _volumes(settings),
        "kubelet": [
            str(tools["kubelet"]),
            f"--config={settings.run / 'kubelet.json'}",
            f"--kubeconfig={settings.pki('kubelet.kubeconfig')}",
            f"--root-dir={settings.run / 'kubelet'}",
            f"--hostname-override={settings.node}",
            f"--node-ip={settings.address}",
        ],
    }
    return {name: Component(name, argv[name]) for name in ORDER}


def files(settings: Settings) -> dict[str, str]:
    """Path below the run folder -> content."""
    return {
        "audit-policy.json": json.dumps(_audit_policy()),
        "containerd.toml": _containerd(settings),
        "cni/10-hardening.conflist": json.dumps(_network(settings)),
        "kubelet.json": json.dumps(_kubelet(settings)),
        "kube-proxy.json": json.dumps(_proxy(settings)),
        "Corefile": _corefile(settings),
        "resolv.conf": "",
    }


def _volumes(settings: Settings) -> list[str]:
    program = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tools.cluster.volumes"]
    return [*program, str(settings.pki("volumes.kubeconfig")), str(settings.run / "volumes"), settings.node]


def _etcd(settings: Settings) -> list[str]:
    url = f"https://{settings.address}:{settings.etcd_port}"
    peer = f"http://{settings.address}:{settings.etcd_port + 1}"
    return [
        f"--data-dir={settings.run / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        f"--cert-file={settings.pki('etcd.crt')}",
        f"--key-file={settings.pki('etcd.key')}",
        f"--trusted-ca-file={settings.pki('ca.crt')}",
        "--client-cert-auth",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=4294967296",
        "--auto-compaction-retention=10m",
    ]


def _apiserver(settings: Settings) -> list[str]:
    return [
        f"--bind-address={settings.address}",
        f"--advertise-address={settings.address}",
        f"--secure-port={settings.api_port}",
        f"--etcd-servers=https://{settings.address}:{settings.etcd_port}",
        f"--etcd-cafile={settings.pki('ca.crt')}",
        f"--etcd-certfile={settings.pki('etcd.crt')}",
        f"--etcd-keyfile={settings.pki('etcd.key')}",
        f"--client-ca-file={settings.pki('ca.crt')}",
        f"--tls-cert-file={settings.pki('apiserver.crt')}",
        f"--tls-private-key-file={settings.pki('apiserver.key')}",
        f"--kubelet-certificate-authority={settings.pki('ca.crt')}",
        f"--kubelet-client-certificate={settings.pki('kubelet-client.crt')}",
        f"--kubelet-client-key={settings.pki('kubelet-client.key')}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-cluster-ip-range={settings.services}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={settings.pki('sa.pub')}",
        f"--service-account-signing-key-file={settings.pki('sa.key')}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--audit-policy-file={settings.run / 'audit-policy.json'}",
        f"--audit-log-path={settings.audit_log}",
        "--audit-log-maxsize=500",
        "--audit-log-maxbackup=1",
        "--profiling=false",
    ]


def _audit_policy() -> dict[str, Any]:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }


def _controller_manager(settings: Settings) -> list[str]:
    return [
        f"--kubeconfig={settings.pki('controller-manager.kubeconfig')}",
        f"--bind-address={settings.address}",
        f"--service-account-private-key-file={settings.pki('sa.key')}",
        f"--root-ca-file={settings.pki('ca.crt')}",
        "--use-service-account-credentials",
        *_CLIENT_LIMITS,
        "--leader-elect=false",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=20s",
    ]


def _scheduler(settings: Settings) -> list[str]:
    return [
        f"--kubeconfig={settings.pki('scheduler.kubeconfig')}",
        *_CLIENT_LIMITS,
        f"--bind-address={settings.address}",
        "--leader-elect=false",
    ]


def _kubelet(settings: Settings) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": settings.address,
        "healthzBindAddress": settings.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(settings.pki("ca.crt"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(settings.pki("kubelet.crt")),
        "tlsPrivateKeyFile": str(settings.pki("kubelet.key")),
        "containerRuntimeEndpoint": f"unix://{settings.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{settings.name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [settings.dns_service],
        "clusterDomain": "cluster.local",
        "resolvConf": str(settings.run / "resolv.conf"),
        "podLogsDir": str(settings.run / "pod-logs"),
        "volumePluginDir": str(settings.run / "volume-plugins"),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        "maxPods": 500,
    }


def _proxy(settings: Settings) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": settings.pods,
        "hostnameOverride": settings.node,
        "bindAddress": settings.address,
        "healthzBindAddress": f"{settings.address}:10256",
        "metricsBindAddress": f"{settings.address}:10249",
        "nodePortAddresses": [f"{settings.address}/32"],
        "clientConnection": {"kubeconfig": str(settings.pki("proxy.kubeconfig"))},
        # The machine's own limits stay as they are.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _network(settings: Settings) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": settings.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(settings.run / "cni-addresses"),
    }
    # A routed pair of devices per pod: with a bridge, answers between pods behind a Service would go around kube-proxy.
    return {"cniVersion": "0.4.0", "name": settings.name, "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}]}


def _containerd(settings: Settings) -> str:
    state = settings.containerd_socket.parent
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{settings.images}"
state = "{state}"
[grpc]
address = "{settings.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{state}/opt"
{cri}]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "{settings.address}"
{cri}.containerd]
snapshotter = "overlayfs"
{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
{cri}.containerd.runtimes.runc.options]
Root = "{state}/runc"
{cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{settings.run}/cni"
"""


def _corefile(settings: Settings) -> str:
    # Names outside the cluster do not exist: pods reach nothing but the cluster.
    listen = f"bind {settings.address}\n  errors"
    return f"""cluster.local:{settings.dns_port} in-addr.arpa:{settings.dns_port} {{
  {listen}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {settings.pki("coredns.kubeconfig")} {settings.name}
    ttl 5
  }}
}}
.:{settings.dns_port} {{
  {listen}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""
