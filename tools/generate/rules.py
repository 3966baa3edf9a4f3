"""The alert rules as files: the chart's, Prometheus' own, and Grafana's provisioning."""

from __future__ import annotations

from typing import Any

from tools.generate.alerts import ALERTS, RUNBOOKS, Alert

GROUP = "hardening"
DATASOURCE = "$DATASOURCE"
RUNBOOK = "$RUNBOOKS"
FOLDER = "$FOLDER"


def chart_rules() -> list[dict[str, Any]]:
    """Return the rules as the chart's template reads them: with `$THRESHOLD` in place, and its default beside it."""
    return [
        {
            "alert": alert.name,
            "expr": alert.template,
            "for": alert.wait,
            "keepFiringFor": alert.linger,
            "severity": alert.severity,
            **({"threshold": alert.threshold} if alert.threshold is not None else {}),
            "annotations": {"summary": alert.summary, "description": alert.description},
        }
        for alert in ALERTS
    ]


def prometheus_rules(runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """Return a Prometheus rule file, for a Prometheus without the operator's custom resources and for promtool."""
    return {
        "groups": [
            {
                "name": GROUP,
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.query,
                        "for": alert.wait,
                        "keep_firing_for": alert.linger,
                        "labels": {"severity": alert.severity},
                        "annotations": _annotations(alert, runbooks),
                    }
                    for alert in ALERTS
                ],
            }
        ]
    }


def grafana_rules() -> dict[str, Any]:
    """Return Grafana's provisioning file of the same rules, managed by Grafana.

    Prometheus fires for every series an expression returns, Grafana for every one whose condition is not 0: hence
    `is_number`. No data means that nothing is wrong.
    """
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": GROUP,
                "folder": FOLDER,
                "interval": "1m",
                "rules": [_grafana_rule(alert) for alert in ALERTS],
            }
        ],
    }


def _annotations(alert: Alert, runbooks: str) -> dict[str, str]:
    return {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": f"{runbooks}/{alert.name}.md",
    }


def _grafana_rule(alert: Alert) -> dict[str, Any]:
    annotations = _annotations(alert, RUNBOOK)
    query = {"refId": "A", "expr": alert.query, "instant": True, "range": False, "editorMode": "code"}
    condition = {"refId": "B", "type": "math", "expression": "is_number($A)"}
    return {
        "uid": f"hardening-{alert.name.lower()}",
        "title": alert.name,
        "condition": "B",
        "data": [
            _grafana_query("A", DATASOURCE, query),
            _grafana_query("B", "__expr__", condition),
        ],
        "for": alert.wait,
        "keepFiringFor": alert.linger,
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": {"severity": alert.severity},
        "annotations": {name: text.replace("$value", "$values.A.Value") for name, text in annotations.items()},
    }


def _grafana_query(ref: str, datasource: str, model: dict[str, Any]) -> dict[str, Any]:
    return {"refId": ref, "relativeTimeRange": {"from": 600, "to": 0}, "datasourceUid": datasource, "model": model}
