"""A run with local processes: killed anywhere it goes on, and what it leaves says what happened."""

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM

from hardening_api.stages import Manifest
from hardening_api.status import HardeningRunStatus
from tests.local.conftest import EXAMPLES, STAGES, Embedded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("local")]


def texts() -> list[str]:
    rows = [
        json.loads(line)
        for name in ("preferences", "preferences-benign", "heldout-harmful", "heldout-benign")
        for line in (EXAMPLES / f"{name}.jsonl").read_text().splitlines()
    ]
    return [row[field] for row in rows for field in ("prompt", "preferred", "dispreferred") if field in row]


def test_a_run_killed_at_every_stage_ends_promoted(killed_at_every_stage: Embedded) -> None:
    status = HardeningRunStatus.model_validate(killed_at_every_stage.status())
    assert status.phase == "Promoted"
    assert {condition.type: condition.status for condition in status.conditions}["Promoted"] == "True"
    assert [entry.round for entry in status.rounds] == [1]


def test_no_finished_stage_is_started_again(killed_at_every_stage: Embedded) -> None:
    for stage in STAGES:
        results = [
            json.loads(file.read_text())["outcome"]
            for attempt in killed_at_every_stage.attempts(stage)
            if (file := attempt / "shard-0" / "result.json").exists()
        ]
        assert results.count("Succeeded") == 1, stage
        assert results[-1] == "Succeeded", stage


def test_every_stage_leaves_a_manifest_of_what_it_read_and_wrote(killed_at_every_stage: Embedded) -> None:
    manifests = sorted(killed_at_every_stage.workspace.glob("rounds/*/*/shard-0-of-1/manifest.json"))
    assert len(manifests) == len(STAGES)
    for path in manifests:
        manifest = Manifest.model_validate(json.loads(path.read_text()))
        assert manifest.inputs
        assert all((path.parent / record.path).stat().st_size == record.size for record in manifest.files)


def test_the_pointer_names_a_checkpoint_that_plain_from_pretrained_loads(killed_at_every_stage: Embedded) -> None:
    pointer = json.loads((killed_at_every_stage.workspace / "promoted" / "current.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(killed_at_every_stage.workspace / pointer["path"])
    assert model.num_parameters() > 0
    assert killed_at_every_stage.status()["promoted"]["digest"] == pointer["digest"]


def test_the_status_has_a_rate_with_its_interval_for_every_set(killed_at_every_stage: Embedded) -> None:
    figures = {entry["set"]: entry for entry in killed_at_every_stage.status()["rounds"][0]["evaluations"]}
    assert {"original", "attacked", "benign"} <= figures.keys()
    rate = figures["original"]["harmRate"]
    assert 0 <= rate["lower"] <= rate["value"] <= rate["upper"] <= 1
    assert rate["samples"] + sum(figures["original"].get("erroredCauses", {}).values()) == 6
    assert "winRate" in figures["original"]
    assert "overRefusal" in figures["benign"]


def test_a_finished_run_started_again_does_nothing(killed_at_every_stage: Embedded) -> None:
    before = killed_at_every_stage.status()
    assert killed_at_every_stage.run().returncode == 0
    assert killed_at_every_stage.status() == before


def test_a_changed_spec_is_refused_with_its_field(killed_at_every_stage: Embedded, tmp_path: Path) -> None:
    document = yaml.safe_load(killed_at_every_stage.manifest.read_text())
    document["spec"]["model"]["uri"] = f"file://{killed_at_every_stage.folder}/plain"
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(document))
    refused = killed_at_every_stage.call("run", str(changed), "--workspace", str(killed_at_every_stage.workspace))
    assert refused.returncode == 2
    assert "spec.model: changed since this run was started" in refused.stderr


def test_no_text_reaches_status_results_or_logs(killed_at_every_stage: Embedded) -> None:
    files = [killed_at_every_stage.workspace / "status.json"]
    files += [file for file in (killed_at_every_stage.workspace / "local").rglob("*") if file.is_file()]
    assert len(files) > len(STAGES)
    for file in files:
        content = file.read_text(errors="replace")
        assert not [text for text in texts() if text in content], file.name


def test_the_report_is_one_page_without_text_unless_asked(killed_at_every_stage: Embedded, tmp_path: Path) -> None:
    folder = str(killed_at_every_stage.workspace)
    assert killed_at_every_stage.call("report", folder, "-o", str(tmp_path / "a.html")).returncode == 0
    page = (tmp_path / "a.html").read_text()
    assert "Promoted" in page
    assert "<svg" in page
    assert "http-equiv" not in page
    assert 'src="http' not in page
    assert not [text for text in texts() if text in page]
    asked = killed_at_every_stage.call("report", folder, "-o", str(tmp_path / "b.html"), "--include-text")
    assert asked.returncode == 0, asked.stderr
    assert len((tmp_path / "b.html").read_text()) > len(page)


def test_status_can_be_read_by_a_script(killed_at_every_stage: Embedded) -> None:
    shown = killed_at_every_stage.call("status", str(killed_at_every_stage.workspace), "--json")
    assert json.loads(shown.stdout) == killed_at_every_stage.status()


def test_a_candidate_that_passed_waits_for_a_person(killed_at_every_stage: Embedded) -> None:
    waiting = killed_at_every_stage.waiting
    assert waiting is not None
    assert waiting.returncode == 4, waiting.stdout + waiting.stderr


def test_an_approval_of_another_digest_is_refused(killed_at_every_stage: Embedded) -> None:
    stale = killed_at_every_stage.stale
    assert stale is not None
    assert stale.returncode == 2
    assert "expected the candidate that is asked about, sha256:" in stale.stderr


def test_who_approved_is_kept_in_the_decisions(killed_at_every_stage: Embedded) -> None:
    approvers = {d["decision"]: d.get("approver") for d in killed_at_every_stage.status()["decisions"]}
    assert approvers["Approved"] == "eve"
