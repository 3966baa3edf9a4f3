"""A tiny run for a cluster: its model and data as ConfigMaps, so that real pods train in seconds."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.cluster.support.clients import Kubectl

DATA = Path(__file__).resolve().parents[3] / "examples" / "data"
FILES = ("preferences.jsonl", "preferences-benign.jsonl", "heldout-harmful.jsonl", "heldout-benign.jsonl")
ROWS = 24
TORN = b'{"id": "t-1", "prompt": "How do I bake bread?", "preferred": "With flour."}\n{"id": "t-2", "prom'
"""A data file that lost its end."""
PHASES_AT_REST = ("Promoted", "NotPromoted", "Failed", "AwaitingApproval")


def give_inputs(kubectl: Kubectl, model: Path) -> None:
    """Put a tiny model and a few rows of each data file into the namespace."""
    kubectl(
        "apply", "--server-side", "-f", "-", given=json.dumps({"kind": "List", "apiVersion": "v1", "items": [
            config_map("tiny-model", {file.name: file.read_bytes() for file in model.iterdir()}),
            config_map("tiny-data", {name: _head(DATA / name) for name in FILES} | {"torn.jsonl": TORN}),
        ]}),
    )  # fmt: skip


def tiny_run(name: str, **spec: Any) -> dict[str, Any]:
    """A one-round run on them that every candidate passes; `spec` replaces its fields."""
    data = {
        "preferences": {"uri": "file:///inputs/data/preferences.jsonl"},
        "benignPreferences": {"uri": "file:///inputs/data/preferences-benign.jsonl"},
        "evaluation": {
            "harmful": {"uri": "file:///inputs/data/heldout-harmful.jsonl", "limit": 6},
            "benign": {"uri": "file:///inputs/data/heldout-benign.jsonl", "limit": 6},
        },
    }
    training = {"method": "Full", "engine": "Torch", "gpusPerNode": 0, "learningRate": 1e-4, "batchSize": 4}
    fields = {
        "model": {"uri": "file:///inputs/model"},
        "rounds": 1,
        "attacker": {"template": "lead-in-v1", "promptsPerRound": 6, "sampling": {"maxNewTokens": 20}},
        "data": data,
        "scoring": {"epsilon": 0},
        "training": training,
        "evaluation": {"maxNewTokens": 12, "variantsPerPrompt": 2, "maxErroredFraction": 1.0},
        "promotion": {"gates": {"winRate": {"statistic": "All", "min": 0, "bound": "Value"}, "minSamples": 1}},
        "workspace": {"persistentVolumeClaim": {"size": "1Gi", "accessMode": "ReadWriteMany"}},
        "stages": {"all": pod_overrides()},
    }
    meta = {"name": name}
    return {"apiVersion": "hardening.dev/v1alpha1", "kind": "HardeningRun", "metadata": meta, "spec": fields | spec}


def pod_overrides(**fields: Any) -> dict[str, Any]:
    """`spec.stages.all` that mounts the inputs; `fields` adds to it."""
    return {
        "volumes": [
            {"name": "model", "configMap": {"name": "tiny-model"}},
            {"name": "data", "configMap": {"name": "tiny-data"}},
        ],
        "volumeMounts": [
            {"name": "model", "mountPath": "/inputs/model", "readOnly": True},
            {"name": "data", "mountPath": "/inputs/data", "readOnly": True},
        ],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "HARDENING_DTYPE", "value": "float32"}],
        **fields,
    }


def at_rest(run: dict[str, Any]) -> bool:
    """Whether a run goes no further by itself."""
    return run.get("status", {}).get("phase") in PHASES_AT_REST


def stage_running(run: dict[str, Any], stage: str) -> bool:
    """Whether a stage of any round is running."""
    return any(entry["stage"] == stage and entry["state"] == "Running" for entry in stages_of(run))


def stages_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Every stage in a run's status."""
    status = run.get("status", {})
    rounds = [entry for entry in (status.get("base"), *status.get("rounds", [])) if entry]
    return [stage for entry in rounds for stage in entry.get("stages", [])]


def finished(space: Kubectl, name: str, minutes: int = 12) -> dict[str, Any]:
    """The run, once it goes no further by itself."""
    return space.watch(f"hardeningrun/{name}", at_rest, "came to rest", minutes * 60)


def reasons(space: Kubectl, name: str) -> set[str]:
    """The reasons of all events about a run."""
    found = space.items("events")
    return {entry["reason"] for entry in found if entry["involvedObject"].get("name") == name}


def pods_of(name: str, stage: str) -> str:
    """The selector of a stage's pods."""
    return f"hardening.dev/run={name},hardening.dev/stage={stage}"


def working(space: Kubectl, name: str, stage: str, minutes: int = 8) -> str:
    """Wait until a stage's pods run, and serve what they measure: it is in the middle of its work. Returns them."""
    selector = pods_of(name, stage)
    space("wait", "pods", "-l", selector, "--for=create", f"--timeout={minutes}m", seconds=minutes * 60 + 30)
    space("wait", "pods", "-l", selector, "--for=jsonpath={.status.phase}=Running", "--timeout=120s", seconds=150)
    return selector


def condition(run: dict[str, Any], name: str) -> dict[str, Any]:
    """One condition of a run."""
    found: dict[str, Any] = next(entry for entry in run["status"]["conditions"] if entry["type"] == name)
    return found


def config_map(name: str, files: dict[str, bytes]) -> dict[str, Any]:
    """A ConfigMap of files."""
    data = {key: base64.b64encode(value).decode() for key, value in files.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": data}


def _head(file: Path) -> bytes:
    return b"".join(file.read_bytes().splitlines(keepends=True)[:ROWS])
