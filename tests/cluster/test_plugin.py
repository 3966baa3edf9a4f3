"""`kubectl hardening` and `hardening run --cluster` on a real cluster: one run is started, suspended in the middle of
its work, resumed and looked at, all by them; another fails and is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import Release
from tests.cluster.support.clients import Kubectl
from tests.cluster.support.plugin import Plugin, Said
from tests.cluster.support.runs import condition, give_inputs, pods_of, reasons, stages_of, tiny_run, working

PROMOTED, FAILED, USAGE, SUSPENDED = 0, 1, 2, 5


@dataclass(frozen=True)
class Story:
    """What the commands said while the run went on."""

    followed: Said
    logs: Said
    suspended: Said
    waiting: dict[str, Any]
    """The run while it was suspended."""
    left_running: list[str]
    resumed: Said
    watched: Said


@pytest.fixture(scope="module")
def plugin(shared: Kubectl, tiny: Path, operator: Release) -> Plugin:
    give_inputs(shared, tiny)
    return Plugin(shared)


@pytest.fixture(scope="module")
def story(plugin: Plugin, shared: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Story:
    file = tmp_path_factory.mktemp("manifest") / "told.yaml"
    file.write_text(yaml.safe_dump(tiny_run("told")))
    following = plugin.start("run", str(file), "--cluster", "--plain", "--timeout", "20m")
    attacking = working(shared, "told", "attack")
    logs = plugin("logs", "told", "--stage", "Attack")
    suspended = plugin("suspend", "told")
    said, _ = following.communicate(timeout=180)
    shared("wait", "pods", "-l", attacking, "--for=delete", "--timeout=150s", seconds=180)
    waiting, jobs = shared.get("hrun", "told"), shared.items("jobs", pods_of("told", "attack"))
    resumed = plugin("resume", "told")
    watched = plugin("watch", "told", "--plain", "--timeout", "15m", seconds=1000)
    followed = Said(following.returncode, said, "")
    return Story(followed, logs, suspended, waiting, [job["metadata"]["name"] for job in jobs], resumed, watched)


def test_a_followed_run_is_told_from_its_start_until_it_is_suspended(story: Story) -> None:
    assert story.followed.code == SUSPENDED, story.followed.output
    assert story.followed.output.index("Evaluate") < story.followed.output.index("Attack")
    assert "Suspended" in story.followed.output


def test_suspended_in_the_middle_of_a_stage_its_pods_and_job_go(story: Story) -> None:
    assert story.suspended == Said(0, story.suspended.output, "")
    assert "hardeningrun.hardening.dev/told suspended" in story.suspended.output
    assert condition(story.waiting, "Suspended")["status"] == "True"
    assert [stage["state"] for stage in stages_of(story.waiting)] == ["Succeeded", "Stopped"]
    assert story.left_running == []


def test_resumed_it_goes_on_and_is_watched_until_it_is_promoted(story: Story, shared: Kubectl) -> None:
    assert "hardeningrun.hardening.dev/told resumed" in story.resumed.output
    assert story.watched.code == PROMOTED, story.watched.output + story.watched.errors
    assert "Promoted" in story.watched.output
    assert {"Suspended", "Resumed", "Promoted"} <= reasons(shared, "told")


def test_logs_are_those_of_the_stages_pods(story: Story, plugin: Plugin) -> None:
    assert story.logs.code == 0, story.logs.errors
    assert "metrics on port 9464" in story.logs.output
    training = plugin("logs", "told", "--stage", "TrainDefender", "--tail", "5")
    assert training.code == 0
    assert training.output


def test_status_is_a_page_for_a_person_and_a_document_for_a_script(story: Story, plugin: Plugin) -> None:
    page = plugin("status", "told")
    assert page.code == 0, page.errors
    assert "told in namespace" in page.output
    assert "TrainDefender" in page.output
    document = yaml.safe_load(plugin("status", "told", "--json").output)
    assert document["phase"] == "Promoted"
    assert plugin("status", "told", "-o", "name").output == "hardeningrun.hardening.dev/told\n"


def test_a_report_is_one_page(story: Story, plugin: Plugin, tmp_path: Path) -> None:
    written = plugin("report", "told", "--output", str(tmp_path / "told.html"))
    assert written.code == 0, written.errors
    page = (tmp_path / "told.html").read_text()
    assert "Promoted" in page
    assert "https://" not in page.replace("https://www.w3.org", "")


def test_a_failed_run_is_tried_again_as_a_run_of_its_own_and_compared(story: Story, plugin: Plugin) -> None:
    plugin.kubectl.apply(tiny_run("hasty", activeDeadlineSeconds=1))
    watched = plugin("watch", "hasty", "--plain", "--timeout", "3m", seconds=200)
    assert watched.code == FAILED
    assert "the run took longer than activeDeadlineSeconds (1)" in watched.output
    tried = plugin("retry", "hasty")
    assert "hardeningrun.hardening.dev/hasty-retry-1 created, from the spec of hasty" in tried.output
    assert plugin.kubectl.get("hrun", "hasty-retry-1")["spec"] == plugin.kubectl.get("hrun", "hasty")["spec"]
    compared = plugin("diff", "told", "hasty")
    assert compared.code == 0, compared.errors
    assert "activeDeadlineSeconds" in compared.output


def test_what_cannot_be_done_is_refused_in_words(story: Story, plugin: Plugin) -> None:
    assert plugin("status", "nobody").code == USAGE
    ended = plugin("suspend", "told")
    assert (ended.code, ended.output) == (USAGE, "")
    assert "expected a run that has not ended" in ended.errors
