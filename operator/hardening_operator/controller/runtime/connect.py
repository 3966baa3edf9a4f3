"""How to reach the API server: as a pod with its service account, or as a developer with a kubeconfig."""

from __future__ import annotations

from collections.abc import Mapping

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration


class NoClusterError(Exception):
    """There is no cluster to work in; the text says why and what to do."""


def in_pod(environ: Mapping[str, str]) -> bool:
    """Return whether this process runs in a pod; a kubeconfig named by the environment goes first."""
    return "KUBERNETES_SERVICE_HOST" in environ and not environ.get("KUBECONFIG")


async def api_client(environ: Mapping[str, str]) -> ApiClient:
    """Return a client for the cluster around us, or the kubeconfig's current one. Raises NoClusterError."""
    configuration = Configuration()
    try:
        if in_pod(environ):
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise NoClusterError(f"no cluster: {error}: run in a pod, or set KUBECONFIG to a kubeconfig file") from None
    # Retries are made by whoever calls, with back-off.
    configuration.retries = None
    return ApiClient(configuration)


async def connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """Return the same connection for kopf, with the token as it is now: kopf asks again when it is refused."""
    header = await configuration.get_api_key_with_prefix("BearerToken") or ""
    token = header.rpartition(" ")[2]
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
