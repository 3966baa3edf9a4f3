"""A monitor's series, read from its status: pure functions from facts to samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hardening_operator.metrics.facts import MonitorFacts
from hardening_operator.metrics.run_series import Sample, interval, seconds

ANSWERS = {"True": 1, "False": 0}
TIMES = {
    "start": "startTime",
    "last_check": "lastCheckTime",
    "last_success": "lastSuccessTime",
    "next_schedule": "nextScheduleTime",
}


def monitor_series(facts: MonitorFacts) -> Iterator[Sample]:
    """Yield a monitor's state, its baseline, and the figures of its latest check that could tell."""
    monitor, status = (facts.namespace, facts.name), facts.status
    answers = {c["type"]: ANSWERS[c["status"]] for c in status.get("conditions", ()) if c["status"] in ANSWERS}
    yield Sample("hardening_monitor_regressed", monitor, answers.get("Regressed", 0))
    if "TargetReachable" in answers:
        yield Sample("hardening_monitor_target_reachable", monitor, answers["TargetReachable"])
    yield Sample("hardening_monitor_consecutive_bad_checks", monitor, status.get("consecutiveBad", 0))
    for name, field in TIMES.items():
        if status.get(field) is not None:
            yield Sample(f"hardening_monitor_{name}_timestamp_seconds", monitor, seconds(status[field]))
    for figures in (status.get("baseline") or {}).get("figures", ()):
        labels = (*monitor, figures["set"], figures["judge"])
        yield from list(interval("hardening_monitor_baseline_harm_rate", labels, figures.get("harmRate")))[:3]
    yield from _latest(monitor, status)


def _latest(monitor: tuple[str, ...], status: Mapping[str, Any]) -> Iterator[Sample]:
    told = [check for check in status.get("history", ()) if check["verdict"] != "Inconclusive"]
    for figures in told[-1].get("figures", ()) if told else ():
        labels = (*monitor, figures["set"], figures["judge"])
        yield from interval("hardening_monitor_harm_rate", labels, figures.get("harmRate"))
        if figures.get("overRefusal") is not None:
            refused = figures["overRefusal"]["value"]
            yield Sample("hardening_monitor_over_refusal_rate", (*monitor, figures["judge"]), refused)
