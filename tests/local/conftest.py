"""A tiny run, small enough to be killed at every stage and still end within a minute or two."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.stage_configs import terse_model
from tests.support.tiny_model import build_tiny_model

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
STAGES = ("r0-evaluate", "r1-attack", "r1-score", "r1-train-attacker", "r1-train-defender", "r1-evaluate", "r1-promote")
PATIENCE_SECONDS = 240


def tiny_manifest(folder: Path) -> Path:
    """Write a one-round manifest beside a tiny model; every candidate passes its gates, and a person decides."""
    build_tiny_model(folder / "plain")
    terse_model(folder / "plain", folder / "model")
    document = {
        "apiVersion": "hardening.dev/v1alpha1",
        "kind": "HardeningRun",
        "metadata": {"name": "tiny"},
        "spec": {
            "model": {"uri": "file://./model"},
            "rounds": 1,
            "attacker": {
                "template": "lead-in-v1",
                "variantsPerPrompt": 4,
                "promptsPerRound": 6,
                "sampling": {"maxNewTokens": 20},
            },
            "data": {
                "preferences": {"uri": f"file://{EXAMPLES}/preferences.jsonl"},
                "benignPreferences": {"uri": f"file://{EXAMPLES}/preferences-benign.jsonl"},
                "evaluation": {
                    "harmful": {"uri": f"file://{EXAMPLES}/heldout-harmful.jsonl", "limit": 6},
                    "benign": {"uri": f"file://{EXAMPLES}/heldout-benign.jsonl", "limit": 6},
                },
            },
            "scoring": {"epsilon": 0},
            "training": {"method": "Full", "engine": "Torch", "gpusPerNode": 0, "learningRate": 1e-4},
            "evaluation": {"maxNewTokens": 12, "variantsPerPrompt": 2, "maxErroredFraction": 1.0},
            "promotion": {
                "gates": {"winRate": {"statistic": "All", "min": 0, "bound": "Value"}, "minSamples": 1},
                "approval": "Manual",
            },
        },
    }
    manifest = folder / "run.yaml"
    manifest.write_text(yaml.safe_dump(document))
    return manifest


class Embedded:
    """`hardening` as a user calls it, in a folder of its own."""

    def __init__(self, folder: Path, manifest: Path) -> None:
        self.folder, self.manifest, self.workspace = folder, manifest, folder / "work"
        self.waiting: subprocess.CompletedProcess[str] | None = None
        self.stale: subprocess.CompletedProcess[str] | None = None

    def approve(self, digest: str) -> subprocess.CompletedProcess[str]:
        return self.call("approve", str(self.workspace), "--digest", digest, "--approver", "eve")

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command("run", str(self.manifest), "--workspace", str(self.workspace), "--plain"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.command_done(*arguments)

    @classmethod
    def command_done(cls, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = cls.command(*arguments)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)

    def run(self) -> subprocess.CompletedProcess[str]:
        return self.call("run", str(self.manifest), "--workspace", str(self.workspace), "--plain")

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.workspace / "status.json").read_text())
        return document

    def attempts(self, stage: str) -> list[Path]:
        return sorted((self.workspace / "local" / stage).glob("a*"))

    def wait_until_running(self, stage: str, runner: subprocess.Popen[str]) -> None:
        """Wait until the stage's own process has begun its work."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not list((self.workspace / "local" / stage).glob("a*/shard-0/progress.json")):
            assert runner.poll() is None, runner.communicate()[0]
            assert time.monotonic() < deadline, f"{stage} was not started in time"
            time.sleep(0.05)

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [str(Path(sys.executable).parent / "hardening"), *arguments]


@pytest.fixture(scope="session")
def killed_at_every_stage(tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    """A run whose runner was ended at every stage, by SIGKILL and Ctrl-C in turn, and that was approved in between."""
    folder = tmp_path_factory.mktemp("local")
    embedded = Embedded(folder, tiny_manifest(folder))
    for number, stage in enumerate(STAGES[:-1]):
        end_at(embedded, stage, signal.SIGKILL if number % 2 == 0 else signal.SIGINT)
    embedded.waiting = embedded.run()
    embedded.stale = embedded.approve("sha256:" + "0" * 64)
    approved = embedded.approve(embedded.status()["rounds"][0]["candidate"])
    assert approved.returncode == 0, approved.stderr
    end_at(embedded, STAGES[-1], signal.SIGKILL)
    last = embedded.run()
    assert last.returncode == 0, last.stdout + last.stderr
    return embedded


def end_at(embedded: Embedded, stage: str, sig: signal.Signals) -> None:
    """Start the runner, and end it once the stage works."""
    runner = embedded.start()
    embedded.wait_until_running(stage, runner)
    os.kill(runner.pid, sig)
    output, _ = runner.communicate(timeout=PATIENCE_SECONDS)
    if sig == signal.SIGINT:
        assert runner.returncode in (130, 0, 4), output
