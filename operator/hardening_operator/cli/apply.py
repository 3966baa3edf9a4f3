"""`hardening run --cluster`: apply a manifest and follow the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from hardening_api.run import HardeningRun
from hardening_operator.cli.following import follow_to_the_end
from hardening_operator.cli.run_lookup import faults_told, open_cluster, refuse, subject_of, where_of
from hardening_operator.documents import WrongContent, load_one, read_documents


def apply_and_follow(called: typer.Context, file: Path, plain: bool, timeout: float | None) -> None:
    """Apply ``file`` to the cluster, follow the run until it rests, and exit with its code."""
    try:
        manifest = load_one(file, HardeningRun)
    except WrongContent as fault:
        refuse("\n".join(f"{file}: {line}" for line in str(fault).splitlines()))
    [document] = read_documents(file)
    for path, uri in _relative_files(document["spec"], "spec"):
        refuse(f"{file}: {path}: got {uri}: expected an absolute path in the pods: file:///...")
    with faults_told():
        cluster = open_cluster(called)
        given = manifest.metadata.namespace
        if given is not None and given != cluster.namespace:
            if where_of(called).namespace is not None:
                refuse(f"{file}: metadata.namespace: got {given}: expected {cluster.namespace}, as -n says")
            cluster = cluster.in_namespace(given)
        metadata = {**document["metadata"], "namespace": cluster.namespace}
        document = {name: value for name, value in document.items() if name != "status"}
        stored = cluster.apply("hardeningruns", {**document, "metadata": metadata})
        follow_to_the_end(called, subject_of(called, cluster, stored), plain, timeout)


def _relative_files(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _relative_files(item, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _relative_files(item, f"{path}[{index}]")
    elif isinstance(value, str) and value.startswith("file://") and not value.startswith("file:///"):
        yield path, value
