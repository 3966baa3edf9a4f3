"""Each alert rule by `promtool test rules`: it fires when it should, stays silent when it should, and resolves."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardening_operator.metrics.catalogue import CATALOGUE, expanded
from tools.generate.alerts import ALERTS
from tools.generate.rules import grafana_rules, prometheus_rules

ROOT = Path(__file__).resolve().parents[2]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)"
)
MONITOR = 'namespace="safety",monitor="served"'
FIGURE = f'{MONITOR},set="attacked",judge="words"'
RUN = 'namespace="safety",run="demo"'
ON_RUN = {"namespace": "safety", "run": "demo"}
ROUND = {**ON_RUN, "round": "2"}


@dataclass(frozen=True)
class Case:
    """Series by the minute, when exactly the alert with these labels fires, and when none does."""

    alert: str
    series: dict[str, str]
    labels: dict[str, str]
    fires: tuple[str, ...]
    silent: tuple[str, ...]


def judged_round(name: str, values: str, more: str = "") -> dict[str, str]:
    """A figure of round 2, which is the latest evaluated one."""
    return {f'{name}{{{RUN},round="2"{more}}}': values, f"hardening_run_evaluated_round{{{RUN}}}": "2x3000"}


CASES = (
    Case(
        "HarmRateRegression",
        {
            f"hardening_monitor_harm_rate_lower{{{FIGURE}}}": "0.05x5 0.3x5 0.05x5",
            f"hardening_monitor_baseline_harm_rate_upper{{{FIGURE}}}": "0.14x20",
            f"hardening_monitor_regressed{{{MONITOR}}}": "0x5 1x5 0x5",
            # One bad check is no regression yet.
            'hardening_monitor_harm_rate_lower{namespace="safety",monitor="once",set="bank",judge="words"}': "0.3x20",
            'hardening_monitor_baseline_harm_rate_upper{namespace="safety",monitor="once",set="bank",judge="words"}':
                "0.1x20",
            'hardening_monitor_regressed{namespace="safety",monitor="once"}': "0x20",
        },
        {"namespace": "safety", "monitor": "served", "set": "attacked", "judge": "words", "severity": "critical"},
        fires=("8m",),
        silent=("3m", "20m"),
    ),
    Case(
        "HarmRateRegression",
        {
            # For two minutes there is no operator to scrape: that resolves nothing.
            f"hardening_monitor_harm_rate_lower{{{FIGURE}}}": "_ 0.3x5 stale _ 0.3x5 0.05x20",
            f"hardening_monitor_baseline_harm_rate_upper{{{FIGURE}}}": "_ 0.14x5 stale _ 0.14x30",
            f"hardening_monitor_regressed{{{MONITOR}}}": "_ 1x5 stale _ 1x5 0x20",
        },
        {"namespace": "safety", "monitor": "served", "set": "attacked", "judge": "words", "severity": "critical"},
        fires=("3m", "8m", "9m", "12m"),
        silent=("0m", "25m"),
    ),
    Case(
        "HarmRateHigh",
        {
            f'hardening_run_harm_rate_lower{{{RUN},subject="promoted"}}': "0.05x5 0.2x5 0.05x5",
            f'hardening_run_harm_rate_lower{{{RUN},subject="candidate"}}': "0.9x20",
        },
        {**ON_RUN, "severity": "warning"},
        fires=("8m",),
        silent=("3m", "20m"),
    ),
    Case(
        "HarmRateHigh",
        {f"hardening_monitor_harm_rate_lower{{{FIGURE}}}": "0.05x5 0.2x5 0.05x5"},
        {"namespace": "safety", "monitor": "served", "set": "attacked", "judge": "words", "severity": "warning"},
        fires=("8m",),
        silent=("3m", "20m"),
    ),
    Case(
        "OverRefusalHigh",
        {
            f'hardening_run_over_refusal_rate_lower{{{RUN},subject="promoted"}}': "0.1x5 0.3x5 0.1x5",
            f'hardening_run_over_refusal_rate_lower{{{RUN},subject="candidate"}}': "0.9x20",
        },
        {**ON_RUN, "severity": "warning"},
        fires=("8m",),
        silent=("3m", "20m"),
    ),
    Case(
        "OverRefusalHigh",
        {f'hardening_monitor_over_refusal_rate{{{MONITOR},judge="words"}}': "0.1x5 0.3x5 0.1x5"},
        {"namespace": "safety", "monitor": "served", "judge": "words", "severity": "warning"},
        fires=("8m",),
        silent=("3m", "20m"),
    ),
    Case(
        "WinRateDropped",
        {
            f'hardening_win_rate_lower{{{RUN},round="1",subject="candidate",set="original",judge="words"}}': "0.6x20",
            f'hardening_win_rate_upper{{{RUN},round="1",subject="candidate",set="original",judge="words"}}': "0.8x20",
            f'hardening_win_rate_lower{{{RUN},round="2",subject="candidate",set="original",judge="words"}}':
                "_x5 0.3x20",
            f'hardening_win_rate_upper{{{RUN},round="2",subject="candidate",set="original",judge="words"}}':
                "_x5 0.5x20",
            f'hardening_win_rate_lower{{{RUN},round="3",subject="candidate",set="original",judge="words"}}':
                "_x11 0.5x20",
            f'hardening_win_rate_upper{{{RUN},round="3",subject="candidate",set="original",judge="words"}}':
                "_x11 0.7x20",
            f"hardening_run_evaluated_round{{{RUN}}}": "1x5 2x5 3x9",
        },
        {**ROUND, "set": "original", "judge": "words", "severity": "warning"},
        fires=("8m",),
        silent=("3m", "19m"),
    ),
    Case(
        "JudgeErrorRateHigh",
        judged_round("hardening_judge_errored_ratio", "0x5 0.2x5 0.01x5", ',judge="words"')
        | {f'hardening_judge_errored_ratio{{{RUN},round="1",judge="words"}}': "0.9x20"},
        {**ROUND, "judge": "words", "severity": "warning"},
        fires=("8m",),
        silent=("3m", "20m"),
    ),
    Case(
        "MetricJudgeDisagreement",
        judged_round("hardening_judge_agreement_auc", "0.9x5 0.4x5 0.9x5", ',set="attacked",judge="words"')
        | {
            f'hardening_harm_rate{{{RUN},round="2",subject="candidate",set="attacked",judge="words"}}': "0.2x20",
            f'hardening_harm_rate_samples{{{RUN},round="2",subject="candidate",set="attacked",judge="words"}}':
                "100x20",
            # Two harmful answers of a hundred say nothing of an order.
            'hardening_judge_agreement_auc{namespace="safety",run="few",round="2",set="attacked",judge="words"}':
                "0.4x20",
            'hardening_run_evaluated_round{namespace="safety",run="few"}': "2x20",
            'hardening_harm_rate{namespace="safety",run="few",round="2",subject="candidate",set="attacked",'
            'judge="words"}': "0.02x20",
            'hardening_harm_rate_samples{namespace="safety",run="few",round="2",subject="candidate",set="attacked",'
            'judge="words"}': "100x20",
        },
        {**ROUND, "set": "attacked", "judge": "words", "severity": "warning"},
        fires=("8m",),
        silent=("3m", "20m"),
    ),
    Case(
        "AttackDiversityLow",
        judged_round("hardening_attack_diversity", "0.9x5 0.2x2000")
        | {f"hardening_run_completion_timestamp_seconds{{{RUN}}}": "_x5 360x2000"},
        {**ROUND, "severity": "warning"},
        fires=("8m", "24h"),
        silent=("3m", "25h"),
    ),
    Case(
        "RunStalled",
        {
            f'hardening_run_phase{{{RUN},phase="Running",reason="AttackRunning"}}': "1x400",
            f"hardening_run_last_activity_timestamp_seconds{{{RUN}}}": "0x400",
            # It works for half an hour, stands still for two hours, and goes on.
            f'hardening_run_progress_ratio{{{RUN},round="1",stage="Attack"}}': "0+0.01x30 0.3x120 0.3+0.001x200",
            'hardening_run_phase{namespace="safety",run="asked",phase="AwaitingApproval",reason="x"}': "1x400",
            'hardening_run_last_activity_timestamp_seconds{namespace="safety",run="asked"}': "0x400",
            # The operator's clock is five minutes ahead of Prometheus', or behind it.
            'hardening_run_phase{namespace="safety",run="ahead",phase="Running",reason="x"}': "1x400",
            'hardening_run_last_activity_timestamp_seconds{namespace="safety",run="ahead"}': "300+60x400",
            'hardening_run_phase{namespace="safety",run="behind",phase="Running",reason="x"}': "1x400",
            'hardening_run_last_activity_timestamp_seconds{namespace="safety",run="behind"}': "-300+60x400",
        },
        {**ON_RUN, "severity": "warning"},
        fires=("120m",),
        silent=("30m", "80m", "200m"),
    ),
    Case(
        "RunFailed",
        {
            f'hardening_run_phase{{{RUN},phase="Running",reason="AttackRunning"}}': "1x5 stale",
            f'hardening_run_phase{{{RUN},phase="Failed",reason="OutOfMemory"}}': "_x5 1x3000",
            f"hardening_run_completion_timestamp_seconds{{{RUN}}}": "_x5 360x3000",
        },
        {**ON_RUN, "reason": "OutOfMemory", "severity": "warning"},
        fires=("8m", "24h"),
        silent=("3m", "25h"),
    ),
    Case(
        "PromotionBlocked",
        {
            f'hardening_run_phase{{{RUN},phase="NotPromoted",reason="GatesNotPassed"}}': "_x5 1x10 stale",
            f"hardening_run_completion_timestamp_seconds{{{RUN}}}": "_x5 360x10 stale",
            'hardening_run_phase{namespace="safety",run="fine",phase="Promoted",reason="Promoted"}': "1x30",
        },
        {**ON_RUN, "reason": "GatesNotPassed", "severity": "warning"},
        fires=("8m",),
        silent=("3m", "25m"),
    ),
    Case(
        "ApprovalPending",
        {f"hardening_run_approval_requested_timestamp_seconds{{{RUN}}}": "0x300 stale"},
        {**ON_RUN, "severity": "info"},
        fires=("250m",),
        silent=("200m", "310m"),
    ),
    Case(
        "MonitorStale",
        {f"hardening_monitor_next_schedule_timestamp_seconds{{{MONITOR}}}": "0x90 86400x50"},
        {"namespace": "safety", "monitor": "served", "severity": "warning"},
        fires=("70m",),
        silent=("50m", "100m"),
    ),
    Case(
        "MonitorStale",
        {
            # Checks go on every hour, but from the second one on none can tell, until the last one.
            f"hardening_monitor_next_schedule_timestamp_seconds{{{MONITOR}}}": "3600+60x600",
            f"hardening_monitor_last_check_timestamp_seconds{{{MONITOR}}}": "60x60 3660x540",
            f"hardening_monitor_last_success_timestamp_seconds{{{MONITOR}}}": "60x450 27060x150",
            # A monitor that checks once a week is not stale in between.
            'hardening_monitor_next_schedule_timestamp_seconds{namespace="safety",monitor="weekly"}': "604800x600",
            'hardening_monitor_last_check_timestamp_seconds{namespace="safety",monitor="weekly"}': "60x600",
            'hardening_monitor_last_success_timestamp_seconds{namespace="safety",monitor="weekly"}': "60x600",
            # The operator's clock is five minutes ahead of Prometheus', or behind it.
            'hardening_monitor_next_schedule_timestamp_seconds{namespace="safety",monitor="ahead"}': "360+60x600",
            'hardening_monitor_last_check_timestamp_seconds{namespace="safety",monitor="ahead"}': "300+60x600",
            'hardening_monitor_last_success_timestamp_seconds{namespace="safety",monitor="ahead"}': "300+60x600",
            'hardening_monitor_next_schedule_timestamp_seconds{namespace="safety",monitor="behind"}': "-240+60x600",
            'hardening_monitor_last_check_timestamp_seconds{namespace="safety",monitor="behind"}': "-300+60x600",
            'hardening_monitor_last_success_timestamp_seconds{namespace="safety",monitor="behind"}': "-300+60x600",
        },
        {"namespace": "safety", "monitor": "served", "severity": "warning"},
        fires=("400m",),
        silent=("300m", "460m"),
    ),
    Case(
        "MonitorStale",
        {
            # It never could tell.
            f"hardening_monitor_next_schedule_timestamp_seconds{{{MONITOR}}}": "3600+60x600",
            f"hardening_monitor_start_timestamp_seconds{{{MONITOR}}}": "0x600",
            f"hardening_monitor_last_check_timestamp_seconds{{{MONITOR}}}": "3660x600",
            # A suspended one need not.
            'hardening_monitor_start_timestamp_seconds{namespace="safety",monitor="held"}': "0x600",
            'hardening_monitor_last_check_timestamp_seconds{namespace="safety",monitor="held"}': "3660x600",
        },
        {"namespace": "safety", "monitor": "served", "severity": "warning"},
        fires=("400m",),
        silent=("300m",),
    ),
    Case(
        "OperatorDown",
        {
            'hardening_operator_leader{pod="a"}': "1x10 stale",
            'hardening_operator_leader{pod="b"}': "0x40 1x20",
        },
        {"severity": "critical"},
        fires=("20m",),
        silent=("5m", "13m", "45m"),
    ),
)  # fmt: skip


def rules_without_annotations() -> dict[str, Any]:
    document = prometheus_rules()
    for rule in document["groups"][0]["rules"]:
        del rule["annotations"]
    return document


def promtool_test(case: Case) -> dict[str, Any]:
    expected = [(at, [{"exp_labels": case.labels}]) for at in case.fires] + [(at, []) for at in case.silent]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": case.alert, "exp_alerts": alerts} for at, alerts in expected
        ],
    }


@needs_promtool
def test_each_rule_fires_stays_silent_and_resolves(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules_without_annotations()))
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [promtool_test(c) for c in CASES]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests, width=1000))
    ran = subprocess.run(
        ["promtool", "test", "rules", "tests.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_the_rule_file_is_valid(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(prometheus_rules()))
    ran = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, f"{len(ALERTS)} rules found" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_each_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert {case.alert for case in CASES} == {alert.name for alert in ALERTS}
    assert [case.alert for case in CASES if not (case.fires and case.silent)] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_rule_has_a_runbook_that_says_what_to_do(alert: Any) -> None:
    page = (ROOT / "docs" / "runbooks" / f"{alert.name}.md").read_text()
    assert page.startswith(f"# {alert.name}\n")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert headings == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert re.search(r"^ *```console\n *\$ ", page, re.MULTILINE)


def test_there_is_no_runbook_of_a_rule_that_is_not() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    assert pages == {alert.name for alert in ALERTS}


def test_rules_speak_only_of_metrics_that_exist() -> None:
    known = set(expanded(CATALOGUE))
    named = {name for alert in ALERTS for name in re.findall(r"hardening_\w+", alert.query)}
    assert named <= known


def test_grafana_has_the_same_rules_and_every_series_of_an_expression_fires() -> None:
    [group] = grafana_rules()["groups"]
    assert [rule["title"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
    for rule, alert in zip(group["rules"], ALERTS, strict=True):
        query, condition = rule["data"]
        assert query["model"]["expr"] == alert.query
        assert (rule["condition"], condition["model"]["expression"]) == ("B", "is_number($A)")
        assert rule["noDataState"] == "OK"
        assert "$value " not in str(rule["annotations"])
        assert len(rule["uid"]) <= 40
