"""What the chart makes for monitoring: rendered by the real helm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, NAMESPACE, ROOT, Object, find_tool, of_kind, one, refusal, render
from tests.support.pages import blocks, commands
from tools.generate.alerts import ALERTS
from tools.generate.rules import grafana_rules, prometheus_rules

KINDS = ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard", "grafanaAlerts")
RUNBOOKS = "https://runbooks.example/hardening"


def rendered(**monitoring: Any) -> list[Object]:
    return render({"monitoring": {name: {"enabled": True, **values} for name, values in monitoring.items()}})


def rules(**overrides: Any) -> dict[str, Object]:
    [group] = one(rendered(prometheusRule={"rules": overrides}), "PrometheusRule")["spec"]["groups"]
    assert group["name"] == "hardening"
    return {rule["alert"]: rule for rule in group["rules"]}


def test_by_default_nothing_of_monitoring_is_made() -> None:
    kinds = {document["kind"] for document in render()}
    assert kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule"} == set()
    names = {document["metadata"]["name"] for document in of_kind(render(), "ConfigMap")}
    assert not {name for name in names if "dashboard" in name or "grafana" in name}


@pytest.mark.parametrize("name", KINDS)
def test_each_part_is_switched_on_by_itself_and_takes_labels(name: str) -> None:
    known = {json.dumps(document, sort_keys=True) for document in render()}
    objects = rendered(**{name: {"labels": {"release": "monitoring"}}})
    [made] = [document for document in objects if json.dumps(document, sort_keys=True) not in known]
    assert made["metadata"]["labels"]["release"] == "monitoring"
    assert made["metadata"]["namespace"] == NAMESPACE


def test_the_rules_of_the_chart_are_those_of_the_code() -> None:
    values = {"runbookUrl": f"{RUNBOOKS}/"}
    [group] = one(rendered(prometheusRule=values), "PrometheusRule")["spec"]["groups"]
    assert [group] == prometheus_rules(RUNBOOKS)["groups"]


def test_each_rule_can_be_switched_off() -> None:
    for alert in ALERTS:
        assert set(rules(**{alert.name: {"enabled": False}})) == {a.name for a in ALERTS} - {alert.name}


def test_a_rule_takes_another_severity_wait_and_threshold() -> None:
    chosen = {"severity": "critical", "for": "10m", "keepFiringFor": "1m", "threshold": 0.05}
    rule = rules(HarmRateHigh=chosen)["HarmRateHigh"]
    assert (rule["labels"], rule["for"], rule["keep_firing_for"]) == ({"severity": "critical"}, "10m", "1m")
    assert rule["expr"].count("> 0.05") == 2
    stalled = rules(RunStalled={"threshold": 7200})["RunStalled"]
    assert "> 7200)" in stalled["expr"]
    assert "[7200s]" in stalled["expr"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_changed_rules_are_still_valid(tmp_path: Path) -> None:
    changed = {alert.name: {"threshold": 1234567.0} for alert in ALERTS if alert.threshold is not None}
    spec = one(rendered(prometheusRule={"rules": changed}), "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    command = ["promtool", "check", "rules", str(tmp_path / "rules.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("HarmRateHihg", {"enabled": False}),
        ("HarmRateHigh", {"threshold": "high"}),
        ("HarmRateHigh", {"threshold": -1}),
        ("RunFailed", {"threshold": 1}),
        ("RunFailed", {"severity": "page"}),
        ("RunFailed", {"for": "soon"}),
    ],
)
def test_a_value_that_no_rule_has_is_refused(rule: str, values: Object) -> None:
    words = refusal({"monitoring": {"prometheusRule": {"enabled": True, "rules": {rule: values}}}})
    assert "/monitoring/prometheusRule/rules" in words
    assert rule in words


def test_the_schema_knows_every_rule() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"]["monitoring"]["properties"]["prometheusRule"]["properties"]["rules"]["properties"]
    with_threshold = {name for name, rule in known.items() if rule["$ref"].endswith("/alertRule")}
    assert set(known) == {alert.name for alert in ALERTS}
    assert with_threshold == {alert.name for alert in ALERTS if alert.threshold is not None}


def test_a_run_keeps_its_own_namespace_when_the_operator_is_scraped() -> None:
    objects = rendered(serviceMonitor={"interval": "7s"})
    [endpoint] = one(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint == {"port": "metrics", "interval": "7s", "honorLabels": True}
    selected = one(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    service = one(objects, "Service")
    assert selected.items() <= service["metadata"]["labels"].items()
    assert "metrics" in [port["name"] for port in service["spec"]["ports"]]


def test_stage_pods_are_scraped_where_runs_are_watched() -> None:
    everywhere = one(rendered(podMonitor={}), "PodMonitor")["spec"]
    assert everywhere["namespaceSelector"] == {"any": True}
    assert everywhere["selector"]["matchLabels"] == {"app.kubernetes.io/name": "hardening-stage"}
    assert [endpoint["port"] for endpoint in everywhere["podMetricsEndpoints"]] == ["metrics"]
    values = {"watchNamespaces": ["safety"], "monitoring": {"podMonitor": {"enabled": True}}}
    assert one(render(values), "PodMonitor")["spec"]["namespaceSelector"] == {"matchNames": ["safety"]}


def test_the_dashboard_is_shipped_whole_for_the_sidecar() -> None:
    objects = rendered(dashboard={"annotations": {"grafana_folder": "Safety"}})
    [shipped] = [o for o in of_kind(objects, "ConfigMap") if o["metadata"]["name"].endswith("-dashboard")]
    assert shipped["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert shipped["metadata"]["annotations"] == {"grafana_folder": "Safety"}
    document = json.loads(shipped["data"]["hardening.json"])
    assert document == json.loads((CHART / "files" / "monitoring" / "dashboard.json").read_text())


def test_grafana_s_rules_name_the_data_source_the_folder_and_the_runbooks() -> None:
    values = {"grafanaAlerts": {"enabled": True, "datasourceUid": "prom-1", "folder": "Safety"},
              "prometheusRule": {"runbookUrl": RUNBOOKS}}  # fmt: skip
    objects = render({"monitoring": values})
    [shipped] = [o for o in of_kind(objects, "ConfigMap") if o["metadata"]["name"].endswith("-grafana-alerts")]
    document = yaml.safe_load(shipped["data"]["hardening-alerts.yaml"])
    text = json.dumps(grafana_rules())
    for name, value in (("$DATASOURCE", "prom-1"), ("$FOLDER", "Safety"), ("$RUNBOOKS", RUNBOOKS)):
        text = text.replace(name, value)
    assert document == json.loads(text)


def test_grafana_s_rules_take_the_same_switches_and_thresholds() -> None:
    changes = {"threshold": 0.05, "severity": "critical", "for": "10m", "keepFiringFor": "1m"}
    chosen = {"HarmRateHigh": changes, "RunFailed": {"enabled": False}}
    objects = rendered(grafanaAlerts={}, prometheusRule={"enabled": False, "rules": chosen})
    [shipped] = [o for o in of_kind(objects, "ConfigMap") if o["metadata"]["name"].endswith("-grafana-alerts")]
    [group] = yaml.safe_load(shipped["data"]["hardening-alerts.yaml"])["groups"]
    managed = {rule["title"]: rule for rule in group["rules"]}
    assert set(managed) == {alert.name for alert in ALERTS} - {"RunFailed"}
    changed = managed["HarmRateHigh"]
    assert (changed["for"], changed["keepFiringFor"]) == ("10m", "1m")
    assert changed["labels"] == {"severity": "critical"}
    by_prometheus = rules(**chosen)
    for name, rule in managed.items():
        assert rule["data"][0]["model"]["expr"] == by_prometheus[name]["expr"]


def test_the_page_s_commands_make_rule_files_of_both_kinds(tmp_path: Path) -> None:
    page = ROOT / "docs" / "monitoring.md"
    shown = [command for block in blocks(page) if block.language == "console" for command in commands(block)]
    (tmp_path / "charts").symlink_to(CHART.parent)
    path = f"{Path(find_tool('helm')).parent}:{os.environ['PATH']}"
    for command in shown:
        if command.text.startswith("helm template "):
            subprocess.run(["bash", "-ec", command.text], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    [group] = yaml.safe_load((tmp_path / "hardening-rules.yaml").read_text())["groups"]
    assert [group] == prometheus_rules()["groups"]
    [managed] = yaml.safe_load((tmp_path / "hardening-alerts.yaml").read_text())["groups"]
    assert [rule["title"] for rule in managed["rules"]] == [alert.name for alert in ALERTS]
