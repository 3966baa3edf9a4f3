"""Series of HardeningMonitors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from hardening_api.monitor import HardeningMonitorStatus
from hardening_operator.metrics.catalogue import MONITOR_METRICS, expanded
from hardening_operator.metrics.exporter import StatusCollector
from hardening_operator.metrics.facts import MonitorFacts, facts_of_monitor_object
from hardening_operator.metrics.monitor_series import monitor_series
from tests.metrics.fleet import healthy_monitors, monitor, troubled_monitors

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def value(facts: MonitorFacts, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(StatusCollector(list, lambda: [facts]))
    return registry.get_sample_value(name, {"namespace": "safety", "monitor": facts.name, **labels})


def test_the_latest_check_stands_beside_its_baseline() -> None:
    found = monitor("served", NOW, harm=0.6, bad=2)
    labels = {"set": "attacked", "judge": "refusal-pattern"}
    assert value(found, "hardening_monitor_harm_rate", **labels) == 0.6
    assert value(found, "hardening_monitor_baseline_harm_rate", **labels) == 0.1
    lower = value(found, "hardening_monitor_harm_rate_lower", **labels)
    upper = value(found, "hardening_monitor_baseline_harm_rate_upper", **labels)
    assert lower is not None
    assert upper is not None
    assert lower > upper
    assert value(found, "hardening_monitor_regressed") == 1
    assert value(found, "hardening_monitor_consecutive_bad_checks") == 2
    assert value(found, "hardening_monitor_over_refusal_rate", judge="refusal-pattern") == 0.4


def test_a_check_that_could_not_tell_leaves_the_figures_of_the_one_before() -> None:
    found = monitor("blind", NOW, harm=0.2, reachable=False)
    assert value(found, "hardening_monitor_harm_rate", set="attacked", judge="refusal-pattern") == 0.2
    assert value(found, "hardening_monitor_target_reachable") == 0
    assert value(found, "hardening_monitor_regressed") == 0
    last = value(found, "hardening_monitor_last_success_timestamp_seconds")
    assert last == (NOW - timedelta(days=2)).timestamp()


def test_a_monitor_that_has_not_checked_yet_says_nothing_of_its_target() -> None:
    body = {"metadata": {"namespace": "safety", "name": "new", "uid": "u"}}
    names = {sample.name for sample in monitor_series(facts_of_monitor_object(body))}
    assert names == {"hardening_monitor_regressed", "hardening_monitor_consecutive_bad_checks"}
    fresh = HardeningMonitorStatus(start_time="2026-06-01T12:00:00Z").to_document()
    assert value(MonitorFacts("safety", "new", "u", fresh), "hardening_monitor_harm_rate") is None


def test_every_metric_of_the_catalogue_is_exported_and_nothing_else() -> None:
    samples = [s for m in healthy_monitors(NOW) + troubled_monitors(NOW) for s in monitor_series(m)]
    assert {sample.name for sample in samples} == set(expanded(MONITOR_METRICS))
