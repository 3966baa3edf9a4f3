"""The SmolLM2 example on a real cluster, with the model and data that the trainer image carries.

It takes 20 minutes and more on two cores, so it runs only with E2E_SMOLLM2=1. E2E_RECORD=FILE keeps its figures.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Release
from tests.cluster.support.clients import Kubectl
from tests.cluster.support.runs import condition, finished
from tests.cluster.support.words import resources, shown_texts, stage_logs, texts_of_the_data
from tools.cluster.settings import REPOSITORY

pytestmark = pytest.mark.skipif(not os.environ.get("E2E_SMOLLM2"), reason="takes 20 minutes: set E2E_SMOLLM2=1")
RELATIVE, CARRIED = "file://./data", "file:///examples/data"
"""Where the example has its data, and where the image has it."""


@pytest.mark.timeout(5400)
def test_the_smollm2_example_is_promoted_on_its_figures(kubectl: Kubectl, operator: Release, tmp_path: Path) -> None:
    example = (REPOSITORY / "examples" / "smollm2-135m.yaml").read_text()
    (tmp_path / "run.yaml").write_text(example.replace(RELATIVE, CARRIED))
    kubectl("apply", "-f", str(tmp_path / "run.yaml"))
    run = finished(kubectl, "smollm2-135m", 80)
    record = os.environ.get("E2E_RECORD")
    if record:
        Path(record).write_text(json.dumps(figures(run), indent=1) + "\n")
    assert run["status"]["phase"] == "Promoted", condition(run, "GatePassed")["message"]
    assert shown_texts(texts_of_the_data(), resources(kubectl) + stage_logs(kubectl)) == []


def figures(run: dict[str, Any]) -> dict[str, Any]:
    """What the status tells: rates, verdicts, durations, digests; no text."""
    kept = ("phase", "round", "base", "rounds", "best", "promoted", "decisions", "startTime", "completionTime")
    return {name: run["status"][name] for name in kept if name in run["status"]}
