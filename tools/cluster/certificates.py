"""A certificate authority, a certificate per component, and a kubeconfig for each component that calls the API."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.settings import Settings
from tools.cluster.shell import output


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for: Kubernetes reads the user from the common name and groups from the organisation."""

    name: str
    user: str
    group: str = ""
    addresses: tuple[str, ...] = ()


def identities(settings: Settings) -> list[Identity]:
    """Every certificate of the cluster."""
    here = (f"IP:{settings.address}",)
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    server = (*here, f"IP:{settings.first_service}", *(f"DNS:{name}" for name in service))
    return [
        Identity("etcd", "etcd", addresses=here),
        Identity("apiserver", "kube-apiserver", addresses=server),
        Identity("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        Identity("kubelet", f"system:node:{settings.node}", "system:nodes", here),
        Identity("admin", "admin", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        Identity("coredns", "system:coredns"),
        Identity("volumes", "system:volumes", "system:masters"),
    ]


def make_certificates(settings: Settings) -> None:
    """Write the authority, all certificates, the key that signs service account tokens, and the kubeconfigs."""
    folder = settings.run / "pki"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _new_key(folder / "ca.key")
    request = [
        "openssl",
        "req",
        "-x509",
        "-new",
        "-key",
        folder / "ca.key",
        "-days",
        "365",
        "-subj",
        f"/CN={settings.name}",
    ]
    output([*request, "-out", folder / "ca.crt"])
    output(["openssl", "genrsa", "-out", folder / "sa.key", "2048"])
    output(["openssl", "rsa", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub"])
    for identity in identities(settings):
        _sign(folder, identity)
        if not identity.name.startswith(("etcd", "apiserver", "kubelet-client")):
            _write_kubeconfig(settings, identity.name)
    admin = settings.pki("admin.kubeconfig").read_text()
    settings.kubeconfig.write_text(admin)
    settings.kubeconfig.chmod(0o600)


def _new_key(path: Path) -> None:
    output(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", path])


def _sign(folder: Path, identity: Identity) -> None:
    key, request, certificate = (folder / f"{identity.name}.{kind}" for kind in ("key", "csr", "crt"))
    _new_key(key)
    subject = f"/CN={identity.user}" + (f"/O={identity.group}" if identity.group else "")
    output(["openssl", "req", "-new", "-key", key, "-subj", subject, "-out", request])
    extensions = folder / f"{identity.name}.ext"
    lines = ["keyUsage=critical,digitalSignature,keyEncipherment", "extendedKeyUsage=serverAuth,clientAuth"]
    if identity.addresses:
        lines.append(f"subjectAltName={','.join(identity.addresses)}")
    extensions.write_text("\n".join(lines) + "\n")
    authority = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "365"]
    output(["openssl", "x509", "-req", "-in", request, *authority, "-extfile", extensions, "-out", certificate])
    request.unlink()
    extensions.unlink()


def _write_kubeconfig(settings: Settings, name: str) -> None:
    def encoded(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    cluster = {"server": settings.server, "certificate-authority-data": encoded(settings.pki("ca.crt"))}
    user = {
        "client-certificate-data": encoded(settings.pki(f"{name}.crt")),
        "client-key-data": encoded(settings.pki(f"{name}.key")),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": settings.name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": settings.name, "context": {"cluster": settings.name, "user": name}}],
        "current-context": settings.name,
    }
    settings.pki(f"{name}.kubeconfig").write_text(json.dumps(document, indent=1))
