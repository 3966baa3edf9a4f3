"""The dashboard: all runs, one run by round and while it works, monitors over time.

Every expression takes `max by` the labels it shows: two scrapes of one operator, or a failover, change nothing.
"""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableRefresh,
    VariableSort,
)

from tools.generate.alerts import ALERTS
from tools.generate.fleet_panels import monitors, overview
from tools.generate.panels import SOURCE
from tools.generate.run_panels import figures, stages, training, verdicts
from tools.generate.selectors import NAMESPACE, RUN


def build_dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    builder = (
        Dashboard("Hardening")
        .uid("hardening")
        .description("Adversarial Preference Learning: harm, win rate, over-refusal and R of every run and monitor.")
        .tags(["hardening", "llm", "safety"])
        .timezone("browser")
        .refresh("1m")
        .time("now-24h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
    )
    for variable in variables():
        builder = builder.with_variable(variable)
    builder = builder.annotation(_alert_annotation())
    for title, panels in (
        ("All runs", overview()),
        ("Run $run: verdict", verdicts()),
        ("Run $run: figures by round", figures()),
        ("Run $run: stages", stages()),
        ("Run $run: training", training()),
        ("Monitor $monitor", monitors()),
    ):
        builder = builder.with_row(Row(title))
        for panel in panels:
            builder = builder.with_panel(panel)
    return _finished(json.loads(json.dumps(builder.build(), cls=JSONEncoder)))


def variables() -> list[Any]:
    """Build the variables: where the data is, and what is looked at."""
    found: list[Any] = [DatasourceVariable("datasource").label("Data source").type("prometheus")]
    for name, label, query in (
        ("namespace", "Namespace", "label_values(hardening_run_info, namespace)"),
        ("run", "Run", f"label_values(hardening_run_info{{{NAMESPACE}}}, run)"),
        ("judge", "Judge", f"label_values(hardening_judge_errored_ratio{{{RUN}}}, judge)"),
        ("monitor", "Monitor", f"label_values(hardening_monitor_regressed{{{NAMESPACE}}}, monitor)"),
    ):
        variable = QueryVariable(name).label(label).query({"query": query, "refId": name}).datasource(SOURCE)
        variable = variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
        if name == "namespace":
            variable = variable.multi(True).include_all(True).all_value(".+")
        found.append(variable)
    return found


def _alert_annotation() -> AnnotationQuery:
    alerts = "|".join(alert.name for alert in ALERTS)
    expression = f'ALERTS{{alertstate="firing",alertname=~"{alerts}"}}'
    return AnnotationQuery().name("Alerts").datasource(SOURCE).enable(True).icon_color("red").expr(expression)


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """Number the panels, and say how an alert's annotation reads, for which the SDK has no words."""
    for number, panel in enumerate(document["panels"], start=1):
        panel["id"] = number
    annotation = document["annotations"]["list"][0]
    annotation |= {"titleFormat": "{{alertname}}", "textFormat": "{{namespace}} {{run}} {{monitor}}", "step": "60s"}
    return document
