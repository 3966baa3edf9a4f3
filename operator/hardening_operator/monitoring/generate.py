"""Writes what is made from the metrics, alerts and dashboard in code. `--check` only says what is out of date.

python -m hardening_operator.monitoring.generate [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from hardening_operator.monitoring.dashboard import build_dashboard
from hardening_operator.monitoring.glossary import build_glossary
from hardening_operator.monitoring.rules import chart_rules, grafana_rules

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "hardening-operator" / "files" / "monitoring"
HEAD = "# Made from operator/hardening_operator/monitoring by `make generate`; do not edit.\n"


def generated() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    return {
        ROOT / "docs" / "metrics.md": build_glossary(),
        CHART / "rules.yaml": HEAD + _yaml(chart_rules()),
        CHART / "grafana-alerts.yaml": HEAD + _yaml(grafana_rules()),
        CHART / "dashboard.json": json.dumps(build_dashboard(), indent=1, sort_keys=True) + "\n",
    }


def main() -> int:
    """Write the files, or with `--check` name those that differ and return 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    check = parser.parse_args().check
    wanted = generated()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run make generate\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
    return 1 if check and stale else 0


def _yaml(document: Any) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, width=110)
    return text


if __name__ == "__main__":
    sys.exit(main())
