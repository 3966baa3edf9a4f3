"""What a HardeningMonitor may say, offline and in the cluster's schema."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from cronsim import CronSim

from hardening_api.monitor import CRON_PATTERN, HardeningMonitor
from hardening_api.validation import validate_document
from tools.generate.crd import build_crd
from tools.generate.kinds import KINDS

DATA = {"harmful": {"uri": "file:///prompts.jsonl"}}
FIGURES = [{"set": "attacked", "harmRate": 0.1, "samples": 200}]


def monitor(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hardening.dev/v1alpha1",
        "kind": "HardeningMonitor",
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "target": {"run": "mistral"}} | spec,
    }


def lines(**spec: Any) -> list[str]:
    found = validate_document(monitor(**spec))
    return [str(error) for error in found] if isinstance(found, list) else []


def test_three_lines_make_a_monitor_of_a_promoted_run() -> None:
    found = validate_document(monitor())
    assert isinstance(found, HardeningMonitor)
    assert (found.spec.run, found.spec.time_zone, found.spec.concurrency_policy) == ("mistral", "Etc/UTC", "Forbid")
    assert found.spec.regression.consecutive == 2


def test_a_served_model_is_measured_with_the_run_it_came_from() -> None:
    endpoint = {"baseUrl": "http://llm:8000/v1", "model": "mistral", "secretRef": {"name": "llm"}}
    found = validate_document(monitor(target={"endpoint": endpoint}, evaluation={"run": "mistral"}))
    assert isinstance(found, HardeningMonitor)
    assert found.spec.run == "mistral"


@pytest.mark.parametrize(
    "schedule", ["0 3 * * *", "*/15 * * * *", "5,35 8-18/2 1-7 JAN-MAR MON", "59 23 31 12 7", "0 0 * * SUN,3"]
)
def test_a_schedule_that_is_taken_is_one_the_library_reads(schedule: str) -> None:
    assert lines(schedule=schedule) == []
    assert next(CronSim(schedule, datetime(2026, 1, 1, tzinfo=UTC))) > datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "@daily", "TZ=UTC * * * * *",
     "*/0 * * * *", "0 0 * * MONDAY", "* * * * * *", "a b c d e"],
)  # fmt: skip
def test_a_schedule_that_cannot_be_is_refused_offline_and_by_the_cluster(schedule: str) -> None:
    [line] = lines(schedule=schedule)
    assert line.startswith(f'spec.schedule: got "{schedule}": expected ')
    assert re.fullmatch(CRON_PATTERN, schedule) is None
    [version] = build_crd(KINDS["HardeningMonitor"])["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["properties"]["schedule"]["pattern"] == CRON_PATTERN


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"timeZone": "Europe/Nowhere"}, 'spec.timeZone: got "Europe/Nowhere": expected the IANA name of a time zone'),
        ({"target": {}}, "spec.target: got {}: expected exactly one of run, model, endpoint"),
        ({"target": {"run": "a", "model": {"uri": "hf://a/b"}}}, "spec.target: got {"),
        ({"concurrencyPolicy": "Allow"}, 'spec.concurrencyPolicy: got "Allow": expected one of Forbid, Replace'),
        ({"historyLimit": 1000}, "spec.historyLimit: got 1000: expected a whole number from 1 to 50"),
        ({"regression": {"consecutive": 0}}, "spec.regression.consecutive: got 0: expected a whole number from 1"),
        ({"regression": {"sets": ["benign"]}}, 'spec.regression.sets[0]: got "benign": expected one of original'),
        ({"pod": {"shards": 4}}, "spec.pod.shards: got 4: expected 1 or nothing: a check is not split into shards"),
        ({"onRegression": "Page"}, 'spec.onRegression: got "Page": expected one of Alert, Rerun'),
        ({"target": {"model": {"uri": "hf://a/b"}}}, "spec.evaluation.data: got nothing: expected held-out prompts"),
        (
            {"target": {"model": {"uri": "hf://a/b"}}, "evaluation": {"data": DATA}},
            "spec.baseline.figures: got nothing: expected harm rates to compare with",
        ),
        (
            {
                "target": {"endpoint": {"baseUrl": "http://x/v1", "model": "m"}},
                "evaluation": {"data": DATA},
                "baseline": {"figures": FIGURES},
            },
            "spec.evaluation.attacker: got nothing: expected the model of an attacker",
        ),
        (
            {
                "target": {"model": {"uri": "hf://a/b"}},
                "evaluation": {"data": DATA},
                "baseline": {"figures": FIGURES},
                "onRegression": "Rerun",
            },
            'spec.onRegression: got "Rerun": expected Alert, or a run',
        ),
    ],
)
def test_a_faulty_monitor_is_refused_by_field(spec: dict[str, Any], line: str) -> None:
    [found] = lines(**spec)
    assert found.startswith(line)


def test_shards_of_a_check_are_refused_by_the_cluster_too_and_one_is_none() -> None:
    [version] = build_crd(KINDS["HardeningMonitor"])["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    [line] = lines(pod={"shards": 2})
    [rule] = [rule for rule in spec["x-kubernetes-validations"] if rule.get("fieldPath") == ".pod.shards"]
    assert rule["rule"] == "self.?pod.shards.orValue(1) <= 1"
    assert line.split("got 2: ")[1] == rule["message"]
    assert lines(pod={"shards": 1}) == []


def test_what_no_run_says_is_a_rule_of_the_cluster_too() -> None:
    [version] = build_crd(KINDS["HardeningMonitor"])["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    messages = {rule["message"].removeprefix("expected ") for rule in spec["x-kubernetes-validations"]}
    endpoint = {"endpoint": {"baseUrl": "http://x/v1", "model": "m"}}
    for given in (
        {},
        {"evaluation": {"data": DATA}},
        {"evaluation": {"data": DATA}, "baseline": {"figures": FIGURES}},
    ):
        [line] = lines(target=endpoint, **given)
        assert line.split(": expected ")[1] in messages
