"""The dashboard's panels of all runs, and of monitors over time."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from tools.generate.panels import RATE_UNIT, Query, lines, numbers, rows, states
from tools.generate.selectors import MONITOR, NAMESPACE

NOW = 'subject=~"promoted|candidate"'
"""Of a run's summary: the promoted model, or the latest candidate of a run that has promoted none."""
RUN_LINK = "/d/hardening?${datasource:queryparam}&var-namespace=${__data.fields.namespace}&var-run=${__value.text}"
"""The same dashboard with the run of a table's row chosen."""


def overview() -> list[Any]:
    """Build the panels of all runs."""
    return [
        numbers(
            "Runs by phase",
            [Query(_count("phase", "hardening_run_phase"), "{{phase}}")],
            width=8,
            text="How many runs are in each phase, of the chosen namespaces.",
        ),
        numbers("Leaders", [Query("sum(hardening_operator_leader)", "leaders")], text="1: the operator is well."),
        numbers("Waiting", [Query("max(hardening_reconcile_queue_length)", "queue")]),
        numbers(
            "Runs in a scrape",
            [Query("max by (detail) (hardening_exported_runs)", "{{detail}}")],
            width=8,
            text="Beyond the size limit of a scrape the runs that ended longest ago have a summary only.",
        ),
        rows(
            "Runs",
            [
                Query(f"max by (namespace, run, phase, reason) (hardening_run_phase{{{NAMESPACE}}})", ""),
                Query(_run_figure("hardening_run_harm_rate", 'subject="base"'), "harm rate, base"),
                Query(_run_figure("hardening_run_harm_rate", NOW), "harm rate, now"),
                Query(_run_figure("hardening_run_win_rate", NOW), "win rate"),
                Query(_run_figure("hardening_run_over_refusal_rate", NOW), "over-refusal"),
            ],
            {"harm rate, base": RATE_UNIT, "harm rate, now": RATE_UNIT, "win rate": RATE_UNIT,
             "over-refusal": RATE_UNIT},
            text="Under attack, by the first judge: the promoted model, else the latest candidate.",
        ).override_by_name("run", [DynamicConfigValue("links", [{"title": "Show this run", "url": RUN_LINK}])]),
        lines(
            "Harm rate of every run",
            [Query(_run_figure("hardening_run_harm_rate", NOW), "{{namespace}}/{{run}}")],
            RATE_UNIT,
        ),
        lines(
            "Promotions in a day",
            [
                Query("sum by (namespace) (increase(hardening_promotions_total[1d]))", "{{namespace}}: promoted"),
                Query(
                    "sum by (namespace, reason) (increase(hardening_promotions_blocked_total[1d]))",
                    "{{namespace}}: {{reason}}",
                ),
            ],
        ),
        lines(
            "Reconcile duration, 95th percentile",
            [
                Query(
                    "histogram_quantile(0.95, sum by (le, kind) "
                    "(rate(hardening_reconcile_duration_seconds_bucket[$__rate_interval])))",
                    "{{kind}}",
                )
            ],
            "s",
        ),
    ]  # fmt: skip


def monitors() -> list[Any]:
    """Build the panels of one monitor, over time."""
    return [
        *(_monitored_harm(chosen) for chosen in ("original", "attacked", "bank")),
        states(
            "Regressed",
            [Query(f"max by (monitor) (hardening_monitor_regressed{{{NAMESPACE}}})", "{{monitor}}")],
            bad="1",
            text="Every monitor of the chosen namespaces.",
        ),
        states(
            "Target reachable",
            [Query(f"max by (monitor) (hardening_monitor_target_reachable{{{NAMESPACE}}})", "{{monitor}}")],
            bad="0",
        ),
        numbers(
            "Bad checks in a row",
            [Query(f"max(hardening_monitor_consecutive_bad_checks{{{MONITOR}}})", "bad checks")],
            width=6,
        ),
        numbers(
            "Since the last check",
            [Query(f"time() - max(hardening_monitor_last_check_timestamp_seconds{{{MONITOR}}})", "last check")],
            "s",
            width=6,
        ),
        numbers(
            "Since a check could tell",
            [Query(f"time() - max(hardening_monitor_last_success_timestamp_seconds{{{MONITOR}}})", "last success")],
            "s",
            width=6,
        ),
        numbers(
            "Over-refusal",
            [Query(f"max by (judge) (hardening_monitor_over_refusal_rate{{{MONITOR}}})", "{{judge}}")],
            RATE_UNIT,
            width=6,
        ),
    ]


def _monitored_harm(chosen: str) -> Any:
    labels = f'{MONITOR},set="{chosen}"'
    return lines(
        f"Harm rate, {chosen} prompts",
        [
            Query(f"max(hardening_monitor_harm_rate{{{labels}}})", "harm rate"),
            Query(f"max(hardening_monitor_harm_rate_lower{{{labels}}})", "lower"),
            Query(f"max(hardening_monitor_harm_rate_upper{{{labels}}})", "upper"),
            Query(f"max(hardening_monitor_baseline_harm_rate_upper{{{labels}}})", "upper end of the baseline"),
        ],
        RATE_UNIT,
        text="With its 95 % interval. Above the dashed line, in consecutive checks, it has regressed.",
    )


def _run_figure(name: str, labels: str) -> str:
    return f"max by (namespace, run) ({name}{{{NAMESPACE},{labels}}})"


def _count(label: str, name: str) -> str:
    return f"count by ({label}) (max by (namespace, run, {label}) ({name}{{{NAMESPACE}}}))"
