"""The few kinds of panels the dashboard has, each built in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import barchart as bars
from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, statetimeline, table, timeseries, trend
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    LegendDisplayMode,
    LineInterpolation,
    StackingMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
RATE_UNIT = "percentunit"
REFS = "ABCDEFGH"


class Query(NamedTuple):
    """An expression, and what its series or column is called; a column without a name is not shown, its labels are."""

    expression: str
    legend: str = "__auto"


def lines(title: str, queries: Sequence[Query], unit: str = "short", text: str = "", width: int = 8) -> Any:
    """Build a panel of values over time."""
    panel = timeseries.Panel().line_interpolation(LineInterpolation.STEP_AFTER).fill_opacity(0).span_nulls(True)
    panel = _framed(panel, title, unit, text, width).legend(_legend())
    for ref, query in zip(REFS, queries, strict=False):
        panel = panel.with_target(_target(ref, query).range())
    return _banded(panel)


def by_round(title: str, queries: Sequence[Query], unit: str = "short", text: str = "", width: int = 8) -> Any:
    """Build a panel of values over the number of the round; each query gives one value a round."""
    panel = trend.Panel().x_field("round").show_points(VisibilityMode.ALWAYS).point_size(7)
    panel = _framed(panel, title, unit, text, width).legend(_legend())
    for ref, query in zip(REFS, queries, strict=False):
        panel = panel.with_target(_instant_table(ref, query))
    to_number = {"conversions": [{"targetField": "round", "destinationType": "number"}], "fields": {}}
    for name, options in (
        ("merge", {}),
        ("convertFieldType", to_number),
        ("sortBy", {"fields": {}, "sort": [{"field": "round"}]}),
        ("organize", _organized(queries)),
    ):
        panel = panel.with_transformation(DataTransformerConfig(name, options=options))
    return _banded(panel)


def rows(title: str, queries: Sequence[Query], units: Mapping[str, str], text: str = "", width: int = 24) -> Any:
    """Build a table: one row for each set of labels that the queries share, one column for each query."""
    panel = _framed(table.Panel(), title, "short", text, width)
    for ref, query in zip(REFS, queries, strict=False):
        panel = panel.with_target(_instant_table(ref, query))
    panel = panel.with_transformation(DataTransformerConfig("merge", options={}))
    panel = panel.with_transformation(DataTransformerConfig("organize", options=_organized(queries)))
    for column, unit in units.items():
        panel = panel.override_by_name(column, [DynamicConfigValue("unit", unit)])
    return panel


def pivot(title: str, query: Query, column: str, row: str, unit: str, text: str = "", width: int = 8) -> Any:
    """Build stacked bars: one bar for each value of the label ``row``, one colour for each of ``column``."""
    panel = bars.Panel().x_field(f"{row}\\{column}").stacking(StackingMode.NORMAL)
    panel = _framed(panel, title, unit, text, width).legend(_legend()).with_target(_instant_table("A", query))
    matrix = {"columnField": column, "rowField": row, "valueField": "Value"}
    return panel.with_transformation(DataTransformerConfig("groupingToMatrix", options=matrix))


def numbers(title: str, queries: Sequence[Query], unit: str = "short", text: str = "", width: int = 4) -> Any:
    """Build a panel of single values, now."""
    panel = stat.Panel().graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.NONE)
    if any("{{" in query.legend for query in queries):
        panel = panel.text_mode(BigValueTextMode.VALUE_AND_NAME)
    return _instants(_framed(panel, title, unit, text, width, 4), queries)


def names(title: str, query: Query, text: str = "", width: int = 4) -> Any:
    """Build a panel that shows the legend of the one series there is, such as a phase."""
    panel = stat.Panel().graph_mode(BigValueGraphMode.NONE).text_mode(BigValueTextMode.NAME)
    return _instants(_framed(panel, title, "short", text, width, 4), [query])


def gauges(title: str, queries: Sequence[Query], unit: str, text: str = "", width: int = 8) -> Any:
    """Build a panel of horizontal bars, one a series, now."""
    panel = bargauge.Panel().orientation(VizOrientation.HORIZONTAL)
    panel = panel.max(1) if unit == RATE_UNIT else panel
    return _instants(_framed(panel, title, unit, text, width), queries)


def states(title: str, queries: Sequence[Query], bad: str, text: str = "", width: int = 12) -> Any:
    """Build a timeline of yes and no; ``bad`` is the value, 0 or 1, that is shown in red."""
    colors = {value: "red" if value == bad else "green" for value in ("0", "1")}
    words = {"0": "no", "1": "yes"}
    shown = {value: ValueMappingResult(text=words[value], color=colors[value]) for value in words}
    panel = _framed(statetimeline.Panel().mappings([ValueMap(shown)]), title, "short", text, width)
    for ref, query in zip(REFS, queries, strict=False):
        panel = panel.with_target(_target(ref, query).range())
    return panel


def _framed(panel: Any, title: str, unit: str, text: str, width: int, height: int = 8) -> Any:
    panel = panel.title(title).unit(unit).datasource(SOURCE).span(width).height(height)
    panel = panel.min(0) if unit == RATE_UNIT else panel
    return panel.description(text) if text else panel


def _legend() -> common.VizLegendOptions:
    return common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)


def _target(ref: str, query: Query) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expression).ref_id(ref).legend_format(query.legend)
    return target.datasource(SOURCE)


def _instant_table(ref: str, query: Query) -> prometheus.Dataquery:
    return _target(ref, query).instant().format(PromQueryFormat.TABLE)


def _instants(panel: Any, queries: Iterable[Query]) -> Any:
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    for ref, query in zip(REFS, queries, strict=False):
        panel = panel.with_target(_target(ref, query).instant())
    return panel


def _organized(queries: Sequence[Query]) -> dict[str, Any]:
    """Name the columns: the value of a single query is called Value, those of several Value #A, Value #B, ..."""
    refs = ["Value"] if len(queries) == 1 else [f"Value #{ref}" for ref in REFS[: len(queries)]]
    names = dict(zip(refs, (query.legend for query in queries), strict=True))
    hidden = {"Time": True} | {ref: True for ref, name in names.items() if not name}
    return {
        "excludeByName": hidden,
        "renameByName": {ref: name for ref, name in names.items() if name},
        "indexByName": {},
    }


def _banded(panel: Any) -> Any:
    """Show `... upper` and `... lower` as a band without lines, and limits and baselines as dashed lines."""
    hidden = [
        DynamicConfigValue("custom.lineWidth", 0),
        DynamicConfigValue("custom.showPoints", "never"),
        DynamicConfigValue("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False}),
    ]
    band = [DynamicConfigValue("custom.fillBelowTo", "lower"), DynamicConfigValue("custom.fillOpacity", 15)]
    dashed = [DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})]
    panel = panel.override_by_name("lower", hidden).override_by_name("upper", [*hidden, *band])
    return panel.override_by_regexp("/(limit|baseline)$/", dashed)
