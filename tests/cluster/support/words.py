"""The scan for text that belongs in the workspace alone: prompts, and what models answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.cluster.support.clients import CommandError, Kubectl
from tests.cluster.support.operators import SELECTOR
from tests.cluster.support.runs import DATA

TEXT_COLUMNS = (
    *("prompt", "preferred", "dispreferred", "variant", "written", "chosen", "rejected"),
    *("asked", "base_answer", "candidate_answer"),
)
"""Columns of the workspace's tables that hold such text."""
SHORTEST = 15
"""A shorter text may stand anywhere by chance."""
KINDS = "hrun,happ,jobs,pods,configmaps,services,networkpolicies,pvc,events"
STAGE_PORT, OPERATOR_PORT = 9464, 8080


def texts_of_the_data() -> set[str]:
    """Every prompt and answer of the data files."""
    rows = [json.loads(line) for file in DATA.glob("*.jsonl") for line in file.read_text().splitlines()]
    return {
        row[key] for row in rows for key in ("prompt", "preferred", "dispreferred") if isinstance(row.get(key), str)
    }


def shown_texts(texts: Iterable[str], shown: str) -> list[str]:
    """The texts of which any line can be read in `shown`, as it is or as JSON writes it."""
    lines = {line.strip() for text in texts for line in text.splitlines()}
    return sorted(line for line in lines if len(line) > SHORTEST and (line in shown or json.dumps(line)[1:-1] in shown))


def resources(space: Kubectl) -> str:
    """Every text in every resource and event of the namespace, but for the test's own inputs."""
    found = space.items(KINDS)
    return "\n".join(text for entry in found if not _is_input(entry) for text in _strings(entry))


def stage_logs(space: Kubectl) -> str:
    """What the stages of all runs of the namespace wrote."""
    pods = [pod["metadata"]["name"] for pod in space.items("pods", "hardening.dev/run")]
    assert pods
    return "\n".join(space("logs", f"pod/{pod}") for pod in pods)


def operator_metrics(system: Kubectl) -> str:
    """`/metrics` of all operators."""
    return "\n".join(
        metrics_of(system, pod["metadata"]["name"], OPERATOR_PORT) for pod in system.items("pods", SELECTOR)
    )


def stage_metrics(space: Kubectl) -> dict[str, str]:
    """`/metrics` of the stages that run now and serve it, by stage."""
    found = {}
    for pod in space.items("pods", "hardening.dev/run"):
        if pod["status"].get("phase") == "Running":
            try:
                text = metrics_of(space, pod["metadata"]["name"], STAGE_PORT)
            except CommandError:
                continue  # it has only begun, or is at its end
            found[pod["metadata"]["labels"]["hardening.dev/stage"]] = text
    return found


def metrics_of(kubectl: Kubectl, pod: str, port: int) -> str:
    """`/metrics` of one pod, through the API server. Raises CommandError."""
    return kubectl("get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}:{port}/proxy/metrics")


def _is_input(entry: dict[str, Any]) -> bool:
    return entry["kind"] == "ConfigMap" and entry["metadata"]["name"].startswith("tiny-")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value
