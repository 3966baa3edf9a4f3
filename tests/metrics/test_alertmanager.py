"""From a status to whoever is woken: the collector, a real Prometheus, a real Alertmanager, a real receiver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from hardening_operator.metrics.exporter import StatusCollector, serve
from hardening_operator.metrics.facts import MonitorFacts
from tests.metrics.alertmanager import Receiver, alertmanager, receiver
from tests.metrics.fleet import monitor
from tests.metrics.prometheus_server import Server
from tools.generate.rules import prometheus_rules

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.skipif(
        shutil.which("prometheus-alertmanager") is None or shutil.which("prometheus") is None,
        reason="no Alertmanager or no Prometheus (apt-get install prometheus prometheus-alertmanager)",
    ),
    pytest.mark.xdist_group("prometheus"),
]
NOW = datetime.now(UTC)
PATIENCE_SECONDS = 60


@pytest.fixture
def monitors() -> list[MonitorFacts]:
    """What the operator knows; a test changes it."""
    return [monitor("served", NOW)]


@pytest.fixture
def told(monitors: list[MonitorFacts], tmp_path: Path) -> Iterator[Receiver]:
    """Who hears of it, through all that lies between."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(tuple, lambda: monitors))
    rules = prometheus_rules()
    for rule in rules["groups"][0]["rules"]:
        rule["keep_firing_for"] = "2s"
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    with receiver() as heard, alertmanager(tmp_path, heard) as address:
        operator = [{"targets": [f"127.0.0.1:{serve(registry, 0, '127.0.0.1')}"]}]
        server = Server(
            tmp_path,
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yaml"],
                "scrape_configs": [{"job_name": "operator", "honor_labels": True, "static_configs": operator}],
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]},
            },
        )
        server.start()
        try:
            server.api.wait_for("hardening_monitor_regressed", 1)
            yield heard
        finally:
            server.stop()


def test_a_regression_wakes_someone_with_its_runbook_and_its_end_is_told_too(
    monitors: list[MonitorFacts], told: Receiver
) -> None:
    monitors[:] = [monitor("served", NOW, harm=0.6, bad=2)]
    alert = told.wait_for("HarmRateRegression", "firing", PATIENCE_SECONDS)
    assert alert["labels"]["monitor"] == "served"
    page = alert["annotations"]["runbook_url"].partition("/docs/")[2]
    assert (ROOT / "docs" / page).read_text().startswith("# HarmRateRegression\n")

    monitors[:] = [monitor("served", NOW)]
    told.wait_for("HarmRateRegression", "resolved", PATIENCE_SECONDS)


def test_a_target_that_cannot_be_reached_is_heard_of_as_stale_and_not_as_a_regression(
    monitors: list[MonitorFacts], told: Receiver
) -> None:
    monitors[:] = [monitor("served", NOW, reachable=False)]
    told.wait_for("MonitorStale", "firing", PATIENCE_SECONDS)
    assert told.told("HarmRateRegression") == []
