"""Generated files are those of the code; the dashboard can be imported by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from hardening_operator.metrics.catalogue import CATALOGUE, expanded
from tools.generate.glossary import build_glossary


def test_generated_files_are_up_to_date() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed (extra dev)")
    command = [sys.executable, "-m", "tools.generate", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_glossary_names_every_metric_with_its_help() -> None:
    text = build_glossary()
    for metric in CATALOGUE:
        assert f"`{metric.name}`" in text
        assert metric.help in text


def test_no_two_metrics_have_one_name_and_each_says_what_it_is() -> None:
    names = Counter(name for metric in CATALOGUE for name in expanded([metric]))
    assert [name for name, count in names.items() if count > 1] == []
    assert [metric.name for metric in CATALOGUE if not metric.help.endswith(".")] == []


def test_every_panel_asks_the_chosen_data_source_and_lies_beside_the_others() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed (extra dev)")
    from tools.generate.dashboard import build_dashboard

    document = json.loads(json.dumps(build_dashboard()))
    panels = [panel for panel in document["panels"] if panel["type"] != "row"]
    assert {target["datasource"]["uid"] for panel in panels for target in panel["targets"]} == {"${datasource}"}
    cells = Counter(
        (x, y)
        for panel in document["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) == 23
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    assert [variable["name"] for variable in document["templating"]["list"]][:3] == ["datasource", "namespace", "run"]
