"""The NetworkPolicy of a stage's pods: their metrics come out, and they reach what their config names, no more.

A policy cannot name hosts, so it names ports: 443 for a hub, a bucket or an endpoint by https, another where the
address has one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from hardening_operator.resources.attempt import StageAttempt
from hardening_operator.resources.environment import environment
from hardening_operator.resources.needs import addresses
from hardening_operator.resources.pods import METRICS_PORT

DNS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
HTTPS, HTTP = 443, 80
SERVERS = {"hf": ("HF_ENDPOINT",), "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")}
"""By scheme: variables that move its server elsewhere, the first one given counts."""
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def network_policy(attempt: StageAttempt) -> dict[str, Any]:
    """Return the NetworkPolicy of a stage attempt's pods."""
    pods = {"matchLabels": dict(attempt.labels)}
    ingress: list[dict[str, Any]] = [{"ports": [{"protocol": "TCP", "port": METRICS_PORT}]}]
    egress: list[dict[str, Any]] = [{"ports": DNS}]
    reached = [{"protocol": "TCP", "port": port} for port in ports(attempt)]
    if reached:
        egress.append({"ports": reached})
    if attempt.nodes > 1:
        ingress.append({"from": [{"podSelector": pods}]})
        egress.append({"to": [{"podSelector": pods}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": attempt.metadata(),
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def ports(attempt: StageAttempt) -> list[int]:
    """Return the ports a stage connects to, in order: none where all it reads is in its image and its volumes."""
    variables = {variable["name"]: variable.get("value") for variable in environment(attempt)}
    found = {port for url in addresses(attempt.configs) if (port := _server_port(url, variables)) is not None}
    if found:
        proxies = (variables.get(name) or variables.get(name.lower()) for name in PROXIES)
        found |= {_port(proxy) for proxy in proxies if proxy}
    return sorted(found)


def _server_port(url: str, variables: dict[str, str | None]) -> int | None:
    scheme = url.partition("://")[0]
    if scheme in ("http", "https"):
        return _port(url)
    if scheme not in SERVERS:
        return None
    return _port(_first(variables.get(name) for name in SERVERS[scheme]) or "https://")


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value), None)


def _port(url: str) -> int:
    """The port of an address, `proxy:3128` included; one that cannot be read is left to the stage to complain of."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    try:
        given = parts.port
    except ValueError:
        given = None
    return given or (HTTP if parts.scheme == "http" else HTTPS)
