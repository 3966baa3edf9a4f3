from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardening_api.status import HardeningRunStatus
from tests.api.manifests import SMALL
from tests.cli.cluster import NAMESPACE, RUNS, FakeCluster

UID = "6a1f0f3e-0000-4000-8000-000000000001"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """An empty cluster that the environment's kubeconfig leads to."""
    fake = FakeCluster()
    monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig(tmp_path / "kubeconfig")))
    yield fake
    fake.close()


def run_document(name: str = "small", status: HardeningRunStatus | None = None, **spec: Any) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(SMALL)
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": UID,
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-24T10:00:00Z",
    }
    document = {
        **document,
        "metadata": metadata,
        "spec": {**document["spec"], "training": {"learningRate": 5e-6}, **spec},
    }
    return document if status is None else {**document, "status": status.to_document()}


@pytest.fixture
def put_run(cluster: FakeCluster) -> Any:
    """Store a run with a status."""

    def put(name: str = "small", status: HardeningRunStatus | None = None, **spec: Any) -> None:
        cluster.put(RUNS, run_document(name, status, **spec))

    return put
