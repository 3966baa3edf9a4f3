"""The headless Service through which the nodes of one training find the first of them."""

from __future__ import annotations

from typing import Any

from hardening_operator.resources.attempt import StageAttempt


def services(attempt: StageAttempt) -> list[dict[str, Any]]:
    """Return the Service of a training on several nodes; nothing for any other stage.

    Nodes are found before they are ready: they wait for each other.
    """
    if attempt.nodes == 1:
        return []
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": dict(attempt.labels)}
    return [{"apiVersion": "v1", "kind": "Service", "metadata": attempt.metadata(attempt.service), "spec": spec}]
