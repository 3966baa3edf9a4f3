"""Environment variables of a stage's container."""

from __future__ import annotations

from typing import Any

from hardening_operator.resources.attempt import StageAttempt
from hardening_operator.resources.devices import has_gpu, threads
from hardening_operator.resources.volumes import SECRETS_FOLDER, TEMPORARY

Variable = dict[str, Any]

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys of a Secret with credentials of a bucket, and the variables they become."""
RESERVED = ("HARDENING_SECRETS_DIR", "HARDENING_NODE_RANK", "MASTER_ADDR", "JOB_COMPLETION_INDEX")
"""What stages cannot work without: no override may set them."""


def environment(attempt: StageAttempt) -> list[Variable]:
    """Return the variables, no name twice: defaults, over them the run's, over those what must be so."""
    named = {variable["name"]: variable for variable in (*_defaults(attempt), *attempt.overrides.env)}
    return list((named | {variable["name"]: variable for variable in _fixed(attempt)}).values())


def _defaults(attempt: StageAttempt) -> list[Variable]:
    """All that libraries write goes to the temporary volume: the image itself cannot be written."""
    folders = {
        "HOME": TEMPORARY,
        "XDG_CACHE_HOME": f"{TEMPORARY}/cache",
        "HF_HOME": f"{TEMPORARY}/cache/huggingface",
        "HARDENING_CACHE_DIR": f"{TEMPORARY}/cache/hardening-operator",
    }
    count = threads(attempt)
    if count is not None:
        folders["OMP_NUM_THREADS"] = str(count)
    if not has_gpu(attempt):
        # CUDA images ask for every GPU of the node, and its runtime may hand them out to a pod that was given none.
        folders["NVIDIA_VISIBLE_DEVICES"] = "void"
    return [_plain(name, value) for name, value in folders.items()]


def _fixed(attempt: StageAttempt) -> list[Variable]:
    return [_plain("HARDENING_SECRETS_DIR", SECRETS_FOLDER), *_rendezvous(attempt), *_bucket(attempt)]


def _rendezvous(attempt: StageAttempt) -> list[Variable]:
    """Give each of several nodes its rank and the first one's address; a shard given a node rank would never commit."""
    if attempt.nodes == 1:
        return []
    index = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{INDEX_ANNOTATION}']"}}
    return [
        {"name": "HARDENING_NODE_RANK", "valueFrom": index},
        _plain("MASTER_ADDR", f"{attempt.name}-0.{attempt.service}"),
    ]


def _bucket(attempt: StageAttempt) -> list[Variable]:
    bucket = attempt.bucket
    if bucket is None:
        return []
    address = [_plain("AWS_ENDPOINT_URL", bucket.endpoint_url)] if bucket.endpoint_url is not None else []
    if bucket.secret_ref is None:
        return address
    name = bucket.secret_ref.name
    return [*address, *({"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}} for key in AWS_KEYS)]


def _plain(name: str, value: str) -> Variable:
    return {"name": name, "value": value}
