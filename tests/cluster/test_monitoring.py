"""Prometheus, Alertmanager and HardeningMonitor on a real cluster, from a first promotion to a regression and back.

Each fixture takes the story one step further: a run is promoted -> what it made is served and watched -> the server is
gone -> the base is served in its place -> the rerun is promoted and served. The tests look at each step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import CHART, EVIDENCE, RELEASE, SYSTEM, Cluster, Release
from tests.cluster.support.clients import Helm, Kubectl
from tests.cluster.support.operators import leader_since, remove
from tests.cluster.support.pods import kill
from tests.cluster.support.runs import condition, finished, working
from tests.cluster.support.scraping import discovery, scrape_config, selected
from tests.cluster.support.serving import Served, give_hardenable, hardenable_run
from tests.metrics.alertmanager import Receiver, alertmanager, receiver
from tests.metrics.picture import Source, draw_dashboard
from tests.metrics.prometheus_server import Prometheus, Server
from tests.support.stage_configs import terse_model
from tests.support.tiny_model import build_tiny_model
from tests.support.wavering_model import COMPLIES, DECLINES, build_wavering_model
from tools.cluster.settings import REPOSITORY
from tools.generate.alerts import RUNBOOKS
from tools.generate.dashboard import build_dashboard

MINUTES = 60
RUN, MONITOR, JUDGE = "first", "served", "refusal-pattern"
EVERY_MINUTE = 60
QUIET_AFTER = "1m"
"""How long an alert outlasts its reason here: more than it takes another operator to lead."""
RATES = {
    "harmRate": "hardening_harm_rate",
    "winRate": "hardening_win_rate",
    "overRefusal": "hardening_over_refusal_rate",
}
PARTS = {"": "value", "_lower": "lower", "_upper": "upper", "_samples": "samples"}
MONITORING = ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")
BASE = "/inputs/model"


@dataclass(frozen=True)
class Watch:
    """Everything that looks on."""

    prometheus: Server
    receiver: Receiver
    started: float

    @property
    def api(self) -> Prometheus:
        return self.prometheus.api

    def value(self, expression: str) -> float:
        """The value of the one series that an expression gives."""
        [series] = self.api.query(expression)
        return float(series["value"][1])


@pytest.fixture(scope="module")
def chart_objects(helm: Helm) -> dict[str, dict[str, Any]]:
    """What the chart makes for monitoring, by kind."""
    switches = [f"monitoring.{name}.enabled=true" for name in MONITORING]
    rule = "monitoring.prometheusRule.rules.HarmRateRegression.keepFiringFor"
    values = [f"--namespace={SYSTEM}", "--set", ",".join([*switches, f"{rule}={QUIET_AFTER}"])]
    rendered = yaml.safe_load_all(helm("template", RELEASE, CHART, *values))
    return {document["kind"]: document for document in rendered if document}


@pytest.fixture(scope="module")
def attentive(helm: Helm, operator: Release) -> Iterator[Release]:
    """The operator, reading the progress of its pods every second: those here are gone after a few."""
    values = [f"--namespace={SYSTEM}", "--reuse-values", "--set", "operator.progressSeconds=1"]
    helm("upgrade", RELEASE, CHART, *values, "--wait", "--timeout=180s")
    yield operator
    helm("rollback", RELEASE, f"--namespace={SYSTEM}", "--wait", "--timeout=180s")


@pytest.fixture(scope="module")
def inputs(shared: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """A namespace with a model that complies, and data that teaches it to decline."""
    folder = tmp_path_factory.mktemp("models")
    build_tiny_model(folder / "plain")
    give_hardenable(shared, build_wavering_model(folder / "model"), terse_model(folder / "plain", folder / "attacker"))
    return shared


@pytest.fixture(scope="module")
def watch(
    cluster: Cluster,
    inputs: Kubectl,
    attentive: Release,
    chart_objects: dict[str, dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watch]:
    """Prometheus with the chart's rules, Alertmanager, and someone to tell."""
    folder, settings = tmp_path_factory.mktemp("prometheus"), cluster.require_own()
    (folder / "rules.yaml").write_text(yaml.safe_dump(chart_objects["PrometheusRule"]["spec"]))
    heard = tmp_path_factory.mktemp("alertmanager")
    with discovery(settings, inputs) as pods, receiver() as told, alertmanager(heard, told) as address:
        config = scrape_config(pods) | {
            "rule_files": ["rules.yaml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]},
        }
        watched = Watch(Server(folder, config), told, time.time())
        watched.prometheus.start()
        try:
            watched.api.wait_for("hardening_operator_leader == 1", 1)
            yield watched
        finally:
            watched.prometheus.stop()


@pytest.fixture(scope="module")
def promoted(cluster: Cluster, inputs: Kubectl, watch: Watch) -> dict[str, Any]:
    """A run that was suspended in the middle of a stage, went on, had another killed and retried, and was approved."""
    inputs.apply(hardenable_run(RUN))
    working(inputs, RUN, "evaluate")
    for suspend in (True, False):
        inputs("patch", "hrun", RUN, "--type=merge", "-p", json.dumps({"spec": {"suspend": suspend}}))
        inputs.wait(f"hrun/{RUN}", f"jsonpath={{.status.conditions[?(@.type=='Suspended')].status}}={suspend}", 120)
    [pod] = inputs.items("pods", working(inputs, RUN, "score"))
    kill(cluster.require_own(), inputs, pod["metadata"]["name"])
    return approved(inputs, RUN)


def approved(space: Kubectl, name: str) -> dict[str, Any]:
    """The run, approved by who asks here, and promoted."""
    run = finished(space, name)
    assert run["status"]["phase"] == "AwaitingApproval", condition(run, "Progressing")
    caller = json.loads(space("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    spec = {"run": name, "candidate": run["status"]["rounds"][-1]["candidate"], "approver": caller}
    kind = {"apiVersion": "hardening.dev/v1alpha1", "kind": "PromotionApproval"}
    space.apply({**kind, "metadata": {"name": f"{name}-yes"}, "spec": spec})
    space.wait(f"hrun/{name}", "Promoted", 5 * MINUTES)
    return space.get("hrun", name)


@pytest.fixture(scope="module")
def served(inputs: Kubectl, promoted: dict[str, Any], images: dict[str, str]) -> Served:
    """A server of the promoted checkpoint."""
    [claim] = [found["metadata"]["name"] for found in inputs.items("pvc", f"hardening.dev/run={RUN}")]
    server = Served(inputs, images["trainer"], claim)
    server.serve(f"/workspace/{promoted['status']['promoted']['uri']}")
    return server


@pytest.fixture(scope="module")
def monitored(inputs: Kubectl, served: Served) -> Kubectl:
    """A monitor of what is served, and one of the promoted checkpoint itself."""
    endpoint = {"baseUrl": served.url, "model": "served", "maxRetries": 0, "timeoutSeconds": 10}
    rules = {"regression": {"consecutive": 2, "minSamples": 5}, "onRegression": "Rerun"}
    inputs.apply(
        every_minute(MONITOR, target={"endpoint": endpoint}, evaluation={"run": RUN}, **rules),
        every_minute("checkpoint", target={"run": RUN}, regression={"minSamples": 5}),
    )
    return inputs


@pytest.fixture(scope="module")
def green(monitored: Kubectl) -> dict[str, Any]:
    """The monitor of what is served, after its first check."""
    return first_checked(monitored, MONITOR)


@pytest.fixture(scope="module")
def checkpoint(monitored: Kubectl) -> dict[str, Any]:
    """The monitor of the checkpoint, suspended after its first check."""
    found = first_checked(monitored, "checkpoint")
    monitored("patch", "hmon", "checkpoint", "--type=merge", "-p", json.dumps({"spec": {"suspend": True}}))
    return found


def every_minute(name: str, **spec: Any) -> dict[str, Any]:
    """A HardeningMonitor that is due at every full minute."""
    kind = {"apiVersion": "hardening.dev/v1alpha1", "kind": "HardeningMonitor"}
    return {**kind, "metadata": {"name": name}, "spec": {"schedule": "* * * * *", **spec}}


def first_checked(space: Kubectl, name: str) -> dict[str, Any]:
    """The monitor, once a check of it has ended."""
    return space.watch(f"hmon/{name}", lambda found: bool(last_reason(found)), "was checked", 3 * EVERY_MINUTE)


def last_reason(monitor: dict[str, Any]) -> str:
    """Why the last check ended as it did; empty before the first."""
    history = monitor.get("status", {}).get("history", [])
    return str(history[-1]["reason"]) if history else ""


def bad_checks(monitor: dict[str, Any]) -> int:
    """How many checks in a row found a regression."""
    return int(monitor["status"].get("consecutiveBad", 0))


@pytest.fixture(scope="module")
def unreachable(inputs: Kubectl, served: Served, green: dict[str, Any]) -> dict[str, Any]:
    """The monitor after a check that found no server."""
    served.stop()
    wanted = "TargetUnreachable"
    return inputs.watch(f"hmon/{MONITOR}", lambda found: last_reason(found) == wanted, wanted, 3 * EVERY_MINUTE)


@pytest.fixture(scope="module")
def regressed(inputs: Kubectl, served: Served, unreachable: dict[str, Any], watch: Watch) -> dict[str, Any]:
    """The base is served in place of what was promoted. Prometheus is down during the first check that finds it."""
    served.serve(BASE)
    watch.prometheus.stop()
    inputs.watch(f"hmon/{MONITOR}", lambda monitor: bad_checks(monitor) > 0, "found the base", 4 * EVERY_MINUTE)
    watch.prometheus.start()
    inputs.wait(f"hmon/{MONITOR}", "Regressed", 4 * EVERY_MINUTE)
    return inputs.get("hmon", MONITOR)


@pytest.fixture(scope="module")
def hardened_again(inputs: Kubectl, served: Served, regressed: dict[str, Any], watch: Watch) -> dict[str, Any]:
    """The run that the monitor asked for, promoted; what it made is served."""
    watch.receiver.wait_for("HarmRateRegression", "firing", EVERY_MINUTE)
    [rerun] = inputs.get("hmon", MONITOR)["status"]["reruns"]
    run = approved(inputs, rerun["name"])
    served.serve(f"/workspace/{rerun['name']}/{run['status']['promoted']['uri']}")
    return run


def test_the_series_of_a_promoted_run_are_the_figures_of_its_status(watch: Watch, promoted: dict[str, Any]) -> None:
    watch.api.wait_for(f'hardening_run_phase{{run="{RUN}",phase="Promoted"}} == 1', 1)
    [entry] = promoted["status"]["rounds"]
    compared = 0
    for figures in entry["evaluations"]:
        labels = f'run="{RUN}",round="1",subject="candidate",set="{figures["set"]}",judge="{figures["judge"]}"'
        for field, name in RATES.items():
            for part, key in PARTS.items() if field in figures else ():
                assert watch.value(f"{name}{part}{{{labels}}}") == figures[field][key], (name, part, labels)
                compared += 1
    for stage in entry["stages"]:
        labels = f'run="{RUN}",round="1",stage="{stage["stage"]}"'
        assert watch.value(f"hardening_stage_duration_seconds{{{labels}}}") == stage["seconds"]
    assert compared >= 20
    [series] = watch.api.query(f'hardening_run_info{{run="{RUN}"}}')
    assert series["metric"]["namespace"] == promoted["metadata"]["namespace"]
    assert series["metric"]["uid"] == promoted["metadata"]["uid"]


def test_the_pods_of_each_stage_were_scraped_while_they_worked(watch: Watch, promoted: dict[str, Any]) -> None:
    seen = watch.api.query(f'last_over_time(hardening_stage_tokens_total{{run="{RUN}"}}[1h])')
    assert {series["metric"]["stage"] for series in seen} >= {"Attack", "Score", "TrainAttacker", "TrainDefender"}
    assert {series["metric"]["namespace"] for series in seen} == {promoted["metadata"]["namespace"]}
    assert {series["metric"]["pod"].split("-")[0] for series in seen} == {RUN}


def test_the_monitors_for_prometheus_operator_select_what_is_there(
    chart_objects: dict[str, dict[str, Any]], inputs: Kubectl, attentive: Release, promoted: dict[str, Any]
) -> None:
    spec = chart_objects["ServiceMonitor"]["spec"]
    [service] = selected(attentive.kubectl, "services", spec["selector"])
    assert {end["port"] for end in spec["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    spec = chart_objects["PodMonitor"]["spec"]
    pods = selected(inputs, "pods", spec["selector"])
    assert {pod["metadata"]["labels"]["hardening.dev/run"] for pod in pods} == {RUN}
    ports = [port["name"] for pod in pods for box in pod["spec"]["containers"] for port in box.get("ports", [])]
    assert {end["port"] for end in spec["podMetricsEndpoints"]} <= set(ports)


def test_a_monitor_of_what_was_promoted_finds_no_regression(watch: Watch, green: dict[str, Any]) -> None:
    assert last_reason(green) == "NoRegression", green["status"]["history"]
    assert condition(green, "Regressed")["status"] == "False"
    assert condition(green, "TargetReachable")["status"] == "True"
    watch.api.wait_for(f'hardening_monitor_harm_rate{{monitor="{MONITOR}"}}', 1)
    for figures in green["status"]["history"][0]["figures"]:
        if "harmRate" in figures:
            labels = f'monitor="{MONITOR}",set="{figures["set"]}",judge="{JUDGE}"'
            assert watch.value(f"hardening_monitor_harm_rate{{{labels}}}") == figures["harmRate"]["value"]
    assert watch.receiver.told("HarmRateRegression") == []


def test_a_monitor_of_the_checkpoint_itself_compares_answer_by_answer(
    inputs: Kubectl, checkpoint: dict[str, Any]
) -> None:
    assert last_reason(checkpoint) == "NoRegression", checkpoint["status"]["history"]
    [original] = [found for found in checkpoint["status"]["history"][0]["changes"] if found["set"] == "original"]
    assert (original["method"], original["change"]["value"]) == ("Paired", 0)
    inputs.wait("hmon/checkpoint", "Suspended", EVERY_MINUTE)
    assert "nextScheduleTime" not in inputs.get("hmon", "checkpoint")["status"]


def test_a_target_that_cannot_be_reached_is_no_regression(watch: Watch, unreachable: dict[str, Any]) -> None:
    assert condition(unreachable, "TargetReachable")["reason"] == "TargetUnreachable"
    assert condition(unreachable, "Regressed")["status"] == "False"
    assert bad_checks(unreachable) == 0
    watch.api.wait_for(f'hardening_monitor_target_reachable{{monitor="{MONITOR}"}} == 0', 1)
    assert watch.receiver.told("HarmRateRegression") == []


def test_the_base_in_its_place_is_a_regression_that_reaches_the_receiver(
    watch: Watch, regressed: dict[str, Any], chart_objects: dict[str, dict[str, Any]]
) -> None:
    assert condition(regressed, "Regressed")["reason"] == "HarmRegressed"
    alert = watch.receiver.wait_for("HarmRateRegression", "firing", EVERY_MINUTE)
    assert (alert["labels"]["monitor"], alert["labels"]["severity"]) == (MONITOR, "critical")
    assert alert["labels"]["namespace"] == regressed["metadata"]["namespace"]
    page = alert["annotations"]["runbook_url"].removeprefix(RUNBOOKS)
    text = (REPOSITORY / "docs" / "runbooks" / page.strip("/")).read_text()
    assert text.startswith("# HarmRateRegression\n")
    assert watch.receiver.told("OperatorDown") == []


def test_another_operator_in_its_place_resolves_nothing(
    watch: Watch, regressed: dict[str, Any], attentive: Release
) -> None:
    watch.receiver.wait_for("HarmRateRegression", "firing", EVERY_MINUTE)
    before = datetime.now(UTC)
    gone = leader_since(attentive.kubectl, before)
    remove(attentive.kubectl, gone)
    watch.api.wait_for(f'hardening_operator_leader{{pod!="{gone}"}} == 1', 1)
    watch.api.wait_for(f'hardening_monitor_regressed{{pod!="{gone}",monitor="{MONITOR}"}} == 1', 1)
    assert watch.receiver.told("HarmRateRegression", "resolved") == []


def test_the_rerun_is_promoted_and_what_it_made_resolves_the_alert(
    watch: Watch, inputs: Kubectl, hardened_again: dict[str, Any]
) -> None:
    spec, source = hardened_again["spec"], inputs.get("hrun", RUN)["status"]["promoted"]["uri"]
    assert spec["model"]["uri"] == f"file:///workspace/{source}"
    assert spec["data"]["attacks"]["uri"].startswith(f"file:///workspace/monitors/{MONITOR}/")
    inputs.wait(f"hmon/{MONITOR}", "Regressed=false", 4 * EVERY_MINUTE)
    watch.receiver.wait_for("HarmRateRegression", "resolved", 3 * EVERY_MINUTE)
    monitor = inputs.get("hmon", MONITOR)
    assert condition(monitor, "Regressed")["status"] == "False"
    assert [rerun["phase"] for rerun in monitor["status"]["reruns"]] == ["Promoted"]


def test_every_query_of_the_dashboard_has_returned_data(
    watch: Watch, hardened_again: dict[str, Any], tmp_path: Path
) -> None:
    values = {"namespace": hardened_again["metadata"]["namespace"], "judge": JUDGE, "monitor": MONITOR}
    runs = (RUN, hardened_again["metadata"]["name"])
    sources = [Source(watch.api, {**values, "run": run}, watch.started, time.time()) for run in runs]
    empty = [
        f"{panel['title']}: {target['expr']}"
        for panel in build_dashboard()["panels"]
        for target in panel.get("targets", ())
        if not any(source.ask(target | {"instant": False}) for source in sources)
    ]
    assert empty == []
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    pictures = draw_dashboard(sources[0], EVIDENCE / "dashboard")
    assert len(pictures) == 6


def test_no_label_of_any_series_bears_a_text(watch: Watch, hardened_again: dict[str, Any]) -> None:
    series = watch.api.get("series", **{"match[]": '{__name__=~"hardening_.+"}'})
    values = {value for labels in series for name, value in labels.items() if name != "__name__"}
    told = sorted(value for value in values if COMPLIES in value or DECLINES in value or "?" in value)
    assert told == []
