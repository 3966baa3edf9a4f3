"""The evidence for a promotion: the candidate's manifest, and those of the stages that evaluated it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hardening_api.stages import FileRecord, Manifest, PromoteConfig, Weights, digest_of
from hardening_trainer.errors import DataFault, UsageFault
from hardening_trainer.runtime.inputs import Inputs, model_input
from hardening_trainer.storage.promoted import CARD, STATEMENT

_STAGE_DEPTH = 4
"""Parts of a stage's folder: rounds/<t>/<stage>/shard-<i>-of-<n>."""


@dataclass(frozen=True)
class Checkpoint:
    """The candidate's files on this machine, checked against its manifest."""

    folder: Path
    stage: str
    """The folder of the stage that trained it, relative to the workspace."""
    manifest: str
    """Digest of that stage's manifest."""
    files: list[FileRecord]
    """Relative to `folder`."""

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over names and contents of the files."""
        return digest_of({record.path: record.sha256 for record in self.files})


@dataclass(frozen=True)
class Evidence:
    """Digests of what the candidate was measured with and on, as the evaluation's manifests have them."""

    base: str
    judges: dict[str, str]
    data: dict[str, str]


def check_gates(config: PromoteConfig) -> None:
    """Raise UsageFault unless the verdicts allow a promotion: no Fail, and Inconclusive only if somebody approved."""
    for gate in config.gates:
        if gate.verdict == "Fail" or (gate.verdict == "Inconclusive" and config.approver is None):
            raise UsageFault(
                f"promote.gates: {gate.gate}: got {gate.verdict}: expected Pass"
                + ("" if gate.verdict == "Fail" else ", or an approver"),
                "GateNotPassed",
            )


def read_checkpoint(inputs: Inputs, candidate: Weights, expected: str) -> Checkpoint:
    """Bring the candidate to this machine, if it still is the one with the manifest digest `expected`.

    A model card that the training left is not taken along: it knows nothing of what was measured since.

    Raises DataFault (`CandidateChanged`) if it is not, CorruptInput if a file does not match its manifest.
    """
    if candidate.path is None:
        raise UsageFault("promote.candidate: got a model by URI: expected the folder of a training in the workspace")
    parts = candidate.path.split("/")
    stage, under = "/".join(parts[:_STAGE_DEPTH]), "/".join(parts[_STAGE_DEPTH:])
    manifest = inputs.manifest(stage)
    if manifest.digest() != expected:
        raise DataFault(
            f"{stage}: its manifest is {manifest.digest()}: expected {expected}, the one that was evaluated: "
            "evaluate the new checkpoint, or restore the old one",
            "CandidateChanged",
        )
    folder = inputs.stage(stage, under)
    prefix = f"{under}/" if under else ""
    files = [
        record.model_copy(update={"path": record.path.removeprefix(prefix)})
        for record in manifest.files
        if record.path.startswith(prefix) and record.path.removeprefix(prefix) not in (CARD, STATEMENT)
    ]
    return Checkpoint(folder, stage, manifest.digest(), files)


def read_evidence(inputs: Inputs, config: PromoteConfig) -> Evidence:
    """Read the manifests of the evaluation. Raises DataFault where they differ or are of another checkpoint."""
    manifests = {folder: inputs.manifest(folder) for folder in config.evaluate}
    trained = "/".join(str(config.candidate.path).split("/")[:_STAGE_DEPTH])
    for folder, manifest in manifests.items():
        measured = manifest.inputs.get(f"stage:{trained}")
        if measured != config.candidate_digest:
            raise DataFault(
                f"{folder}: measured {measured or 'another model'}: expected {config.candidate_digest}, "
                "the candidate: evaluate it",
                "CandidateChanged",
            )
    inputs_by_name = _agreed(manifests, [manifest.inputs for manifest in manifests.values()])
    base = inputs_by_name.get(model_input(config.base))
    if base is None:
        raise DataFault(f"{config.evaluate[0]}: its manifest does not name {config.base.uri}: evaluate against it")
    judges = _agreed(manifests, [manifest.result.judges for manifest in manifests.values()])
    data = {name.removeprefix("data:"): digest for name, digest in inputs_by_name.items() if name.startswith("data:")}
    return Evidence(base, judges, data)


def _agreed(manifests: dict[str, Manifest], tables: Sequence[dict[str, str]]) -> dict[str, str]:
    """Merge the shards' tables of digests, which must agree. Raises DataFault."""
    merged: dict[str, str] = {}
    for folder, table in zip(manifests, tables, strict=True):
        for name, digest in table.items():
            if merged.setdefault(name, digest) != digest:
                raise DataFault(
                    f"{folder}: {name}: {digest}, another shard has {merged[name]}: evaluate again", "ShardsDiffer"
                )
    return dict(sorted(merged.items()))
