"""The dashboard's queries and the alerts' expressions, asked of a real Prometheus that scraped real expositions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from hardening_api.stages import STAGE_GAUGES
from hardening_operator.metrics.exporter import StatusCollector, serve
from hardening_operator.metrics.instruments import Instruments
from hardening_operator.planner.types import Event
from hardening_trainer.runtime.gpu_memory import GpuMemory
from hardening_trainer.runtime.progress import Progress
from tests.metrics.fleet import healthy_fleet, healthy_monitors, troubled_fleet, troubled_monitors
from tests.metrics.prometheus_server import Prometheus, running
from tests.support.stage_configs import attack_config
from tools.generate.alerts import ALERTS
from tools.generate.rules import prometheus_rules

pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed (extra dev)")
pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus (apt-get install prometheus)"),
    pytest.mark.xdist_group("prometheus"),
]
NOW = datetime.now(UTC)
VARIABLES = {"$namespace": ".+", "$judge": "refusal-pattern", "$monitor": "regressed", "$__rate_interval": "20s"}
RUNS = ("mistral-7b", "llama-3-8b")


def operator_registry() -> CollectorRegistry:
    """What an operator with well and troubled runs and monitors exports."""
    registry = CollectorRegistry()
    runs, monitors = healthy_fleet(NOW) + troubled_fleet(NOW), healthy_monitors(NOW) + troubled_monitors(NOW)
    registry.register(StatusCollector(lambda: runs, lambda: monitors))
    instruments = Instruments(registry, "0.1.0")
    instruments.observe_leadership(True)
    instruments.observe_queue(0)
    instruments.observe_reconcile("HardeningRun", "Unchanged", 0.02)
    instruments.observe_events("safety", [Event("Normal", "Promoted", "x"), Event("Warning", "GatesFailed", "x")])
    return registry


def stage_registry(folder: Path) -> CollectorRegistry:
    """What a training's pod exports, with a driver that tells of one GPU."""
    config = attack_config("memory://x")
    progress = Progress(config.model_copy(update={"run": config.run.model_copy(update={"name": "mistral-7b"})}))
    progress.total(10)
    progress.advance(4, tokens=100)
    for name in STAGE_GAUGES:
        figure = name.removeprefix("hardening_stage_")
        if figure not in ("progress_ratio", "eta_seconds", "tokens_per_second"):
            progress.gauge(figure, 0.5)
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, 1024, 81559'\n")
    tool.chmod(0o755)
    labels = {"run": "mistral-7b", "stage": "Attack", "round": "1"}
    progress.registry.register(GpuMemory(labels, str(tool)))
    return progress.registry


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    targets = {
        serve(operator_registry(), 0, "127.0.0.1"): {"namespace": "hardening-system", "pod": "operator-a"},
        serve(stage_registry(folder), 0, "127.0.0.1"): {"namespace": "safety", "pod": "mistral-7b-r1-attack-0"},
    }
    with running(folder, targets, prometheus_rules()) as server:
        server.wait_for("count_over_time(up[1h]) >= 3 and up == 1", 2)
        server.wait_for('ALERTS{alertstate="firing"}', 12)
        yield server


def dashboard() -> dict[str, Any]:
    from tools.generate.dashboard import build_dashboard

    return build_dashboard()


def queries() -> list[tuple[str, str]]:
    return [
        (f"{panel['title']}: {target['legendFormat']}", target["expr"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]


def filled_in(expression: str, run: str) -> str:
    for name, text in {**VARIABLES, "$run": run}.items():
        expression = expression.replace(name, text)
    assert "$" not in expression
    return expression


def test_every_query_of_the_dashboard_returns_data(prometheus: Prometheus) -> None:
    found = queries()
    empty = [
        f"{title}: {query}"
        for title, query in found
        if not any(prometheus.query(filled_in(query, run)) for run in RUNS)
    ]
    assert len(found) > 60
    assert empty == []


def test_what_prometheus_has_is_what_the_status_says(prometheus: Prometheus) -> None:
    run = healthy_fleet(NOW)[0]
    for entry in run.status["rounds"]:
        for figures in entry["evaluations"]:
            labels = f'run="mistral-7b",round="{entry["round"]}",set="{figures["set"]}",judge="{figures["judge"]}"'
            for name, field in (("harm_rate", "harmRate"), ("over_refusal_rate", "overRefusal")):
                if field in figures:
                    query = f'hardening_{name}_upper{{subject="candidate",{labels}}}'
                    [series] = prometheus.query(query)
                    assert float(series["value"][1]) == figures[field]["upper"]


def test_the_namespace_of_a_run_is_not_lost_to_that_of_the_operator(prometheus: Prometheus) -> None:
    [series] = prometheus.query('hardening_run_info{run="mistral-7b"}')
    assert (series["metric"]["namespace"], series["metric"]["pod"]) == ("safety", "operator-a")
    [series] = prometheus.query("hardening_operator_leader")
    assert series["metric"]["namespace"] == "hardening-system"


def test_every_variable_of_the_dashboard_has_values(prometheus: Prometheus) -> None:
    for variable in dashboard()["templating"]["list"][1:]:
        matched = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert matched is not None
        selector, label = filled_in(matched[1], RUNS[0]), matched[2]
        assert prometheus.get(f"label/{label}/values", **{"match[]": selector}) != []


def test_the_alert_annotation_of_the_dashboard_returns_what_fires(prometheus: Prometheus) -> None:
    [annotation] = dashboard()["annotations"]["list"]
    firing = {series["metric"]["alertname"] for series in prometheus.query(annotation["expr"])}
    assert firing == {alert.name for alert in ALERTS} - {"OperatorDown"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_expression_returns_data_of_a_troubled_fleet(prometheus: Prometheus, alert: Any) -> None:
    # There was no operator an hour before this test.
    moment = NOW - timedelta(hours=1) if alert.name == "OperatorDown" else datetime.now(UTC)
    assert prometheus.query(alert.query, time=moment.timestamp()) != []


def test_the_well_runs_and_monitors_alert_no_one(prometheus: Prometheus) -> None:
    well = [*RUNS, "steady"]
    alerts = prometheus.get("alerts")["alerts"]
    named = [alert["labels"].get("run") or alert["labels"].get("monitor") for alert in alerts]
    assert alerts != []
    assert set(named) & set(well) == set()


def test_what_an_alert_says_is_whole_and_names_its_runbook(prometheus: Prometheus) -> None:
    for alert in prometheus.get("alerts")["alerts"]:
        said = alert["annotations"]
        assert said["runbook_url"].endswith(f"/docs/runbooks/{alert['labels']['alertname']}.md")
        for text in (said["summary"], said["description"]):
            assert not re.search(r"no value|<error|\{\{|%!|: $|NaN", text), text
    said = {alert["labels"]["alertname"]: alert["annotations"] for alert in prometheus.get("alerts")["alerts"]}
    assert said["RunFailed"]["summary"] == "Run safety/failed has failed: OutOfMemory"
    attacked = next(f for f in troubled_monitors(NOW)[0].status["history"][-1]["figures"] if f["set"] == "attacked")
    assert said["HarmRateRegression"]["description"].endswith(
        f"the lower bound of the harm rate is {100 * attacked['harmRate']['lower']:.4g}%, above the upper bound at "
        "promotion, in consecutive checks."
    )


def test_the_dashboard_can_be_drawn_from_what_prometheus_has(prometheus: Prometheus, tmp_path: Path) -> None:
    from tests.metrics.picture import Source, draw_dashboard

    variables = {"namespace": ".+", "run": RUNS[0], "judge": "refusal-pattern", "monitor": "regressed"}
    now = datetime.now(UTC).timestamp()
    pictures = draw_dashboard(Source(prometheus, variables, now - 15, now), tmp_path / "dashboard")
    rows = ["all-runs", "run-verdict", "run-figures-by-round", "run-stages", "run-training", "monitor"]
    assert [path.name for path in pictures] == [f"dashboard-{row}.png" for row in rows]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
