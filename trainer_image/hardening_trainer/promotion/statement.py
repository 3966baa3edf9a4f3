"""The in-toto statement of a promotion: what was measured, on what, with what, and who approved.

Source: in-toto Attestation Framework, Statement v1. Its subject is every promoted file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

from hardening_api.stages import PromoteConfig, RunIdentity
from hardening_trainer.promotion.evidence import Checkpoint, Evidence

PREDICATE_TYPE = "https://hardening.dev/attestation/v1alpha1"


def predicate_of(
    run: RunIdentity, round_number: int, promote: PromoteConfig, checkpoint: Checkpoint, evidence: Evidence
) -> dict[str, Any]:
    """Return all that the statement claims but the time: the same promotion gives the same."""
    return {
        "run": {"name": run.name, "namespace": run.namespace, "uid": run.uid},
        "round": round_number,
        "specDigest": run.spec_digest,
        "base": {**promote.base.to_document(), "digest": evidence.base},
        "candidate": {"stage": checkpoint.stage, "manifest": checkpoint.manifest, "checkpoint": checkpoint.digest},
        "judges": evidence.judges,
        "data": evidence.data,
        "figures": [figures.to_document() for figures in promote.evaluations],
        "gates": [gate.to_document() for gate in promote.gates],
        "approver": promote.approver,
    }


def statement_of(predicate: Mapping[str, Any], subject: Mapping[str, str], created: str) -> bytes:
    """Return the statement as JSON. `subject` maps each promoted file to its sha256 (hex)."""
    descriptors = [
        ResourceDescriptor(name=name, digest={"sha256": sha256}).pb for name, sha256 in sorted(subject.items())
    ]
    statement = Statement(descriptors, PREDICATE_TYPE, {**predicate, "created": created})
    statement.validate()
    return (json.dumps(MessageToDict(statement.pb), indent=1, sort_keys=True) + "\n").encode()


def without_time(statement: bytes) -> Any:
    """Return a statement's content but for its time, or None where the bytes are no statement."""
    try:
        document = json.loads(statement)
        del document["predicate"]["created"]
    except (ValueError, KeyError, TypeError):
        return None
    return document
