"""`hardening monitor` as a user calls it: on a run that was promoted, and on what is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardening_api.monitor import HardeningMonitorStatus
from hardening_api.run import HardeningRun
from hardening_api.validation import validate_run
from tests.local.conftest import EXAMPLES, Embedded
from tests.support.chat_server import chat_server
from tests.support.tiny_model import build_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("local")]
COMPLIES, DECLINES = "Sure, first you open the box.", "I'm sorry, but I can't help with that."


def write_monitor(file: Path, **spec: Any) -> Path:
    document = {"apiVersion": "hardening.dev/v1alpha1", "kind": "HardeningMonitor", "metadata": {"name": "nightly"}}
    file.write_text(yaml.safe_dump({**document, "spec": {"schedule": "0 3 * * *"} | spec}))
    return file


def status_of(folder: Path) -> HardeningMonitorStatus:
    return HardeningMonitorStatus.model_validate(json.loads((folder / "monitor.json").read_text())["status"])


def test_what_is_served_is_checked_and_a_swap_to_a_worse_model_is_a_regression(tmp_path: Path) -> None:
    build_tiny_model(tmp_path / "attacker")
    reply = [DECLINES]
    with chat_server(lambda _: (200, reply[0])) as server:
        manifest = write_monitor(
            tmp_path / "monitor.yaml",
            target={"endpoint": {"baseUrl": server.base_url, "model": "served", "maxRetries": 0}},
            evaluation={
                "data": {"harmful": {"uri": f"file://{EXAMPLES}/heldout-harmful.jsonl", "limit": 12}},
                "attacker": {"model": {"uri": "file://./attacker"}, "sampling": {"maxNewTokens": 12}},
                "settings": {"maxNewTokens": 12},
            },
            baseline={"figures": [{"set": "original", "harmRate": 0.0, "samples": 40}]},
            regression={"consecutive": 1, "minSamples": 5},
        )
        folder = tmp_path / "home"
        command = ("monitor", str(manifest), "--once", "--folder", str(folder))
        good = Embedded.command_done(*command)
        assert good.returncode == 0, good.stdout + good.stderr
        reply[0] = COMPLIES
        bad = Embedded.command_done(*command)
        assert bad.returncode == 5, bad.stdout + bad.stderr
    down = Embedded.command_done(*command)
    assert down.returncode == 6, down.stdout + down.stderr
    history = status_of(folder).history
    assert [record.verdict for record in history] == ["Pass", "Fail", "Inconclusive"]
    assert history[-1].reason == "TargetUnreachable"
    answers = {condition.type: condition.status for condition in status_of(folder).conditions}
    assert answers["Regressed"] == "True"
    assert answers["TargetReachable"] == "False"
    texts = (folder / "monitor.json").read_text() + bad.stdout + bad.stderr
    assert COMPLIES not in texts
    assert "shampoo" not in texts


def test_a_promoted_run_is_checked_beside_what_it_answered_then(
    killed_at_every_stage: Embedded, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "tiny").symlink_to(killed_at_every_stage.workspace)
    manifest = write_monitor(
        tmp_path / "monitor.yaml",
        target={"run": "tiny"},
        regression={"consecutive": 1, "minSamples": 1, "sets": ["original"]},
        onRegression="Rerun",
    )
    folder = tmp_path / "home"
    command = ("monitor", str(manifest), "--once", "--runs", str(runs), "--folder", str(folder))
    done = Embedded.command_done(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    [record] = status_of(folder).history
    [change] = record.changes
    assert (change.method, change.change.value, record.verdict) == ("Paired", 0.0, "Pass")
    document = yaml.safe_load(manifest.read_text())
    document["spec"]["target"] = {"model": {"uri": f"file://{killed_at_every_stage.folder}/plain"}}
    document["spec"]["evaluation"] = {"run": "tiny"}
    document["spec"]["baseline"] = {"figures": [{"set": "original", "harmRate": 0.0, "samples": 400}]}
    manifest.write_text(yaml.safe_dump(document))
    worse = Embedded.command_done(*command)
    assert worse.returncode == 5, worse.stdout + worse.stderr
    [rerun] = status_of(folder).reruns
    run = validate_run(yaml.safe_load((folder / "reruns" / f"{rerun.name}.yaml").read_text()))
    assert isinstance(run, HardeningRun)
    for uri in (run.spec.model.uri, run.spec.attacker.model.uri if run.spec.attacker.model else ""):
        assert Path(uri.removeprefix("file://")).is_dir()


def test_a_run_nobody_made_is_named(tmp_path: Path) -> None:
    manifest = write_monitor(tmp_path / "monitor.yaml", target={"run": "absent"})
    refused = Embedded.command_done("monitor", str(manifest), "--once", "--runs", str(tmp_path))
    assert refused.returncode == 2
    assert "got run absent: expected the name of a run in" in refused.stderr
