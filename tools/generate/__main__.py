"""Write every file that is generated from code. `--check` writes nothing and names the files that are out of date.

python -m tools.generate [--check]

contract -> CRDs, API reference; metrics -> glossary; alerts -> rules of Prometheus and Grafana; panels -> dashboard
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from hardening_api.base import API_GROUP
from tools.generate.crd import build_crd
from tools.generate.dashboard import build_dashboard
from tools.generate.glossary import build_glossary
from tools.generate.kinds import KINDS
from tools.generate.reference import build_reference
from tools.generate.rules import chart_rules, grafana_rules

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "hardening-operator" / "files" / "monitoring"
CRD_HEAD = "# Generated from crds/hardening_api by `make generate`; do not edit.\n"
RULES_HEAD = "# Generated from tools/generate by `make generate`; do not edit.\n"


class _PlainDumper(yaml.SafeDumper):
    """Writes equal parts out each time: anchors would make the CRD hard to read."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  (the signature is PyYAML's)
        return True


def generated() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    files = {
        ROOT / "docs" / "api-reference.md": build_reference(),
        ROOT / "docs" / "metrics.md": build_glossary(),
        CHART / "rules.yaml": RULES_HEAD + _yaml(chart_rules()),
        CHART / "grafana-alerts.yaml": RULES_HEAD + _yaml(grafana_rules()),
        CHART / "dashboard.json": json.dumps(build_dashboard(), indent=1, sort_keys=True) + "\n",
    }
    for kind in KINDS.values():
        crd = yaml.dump(build_crd(kind), Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)
        files[ROOT / "crds" / f"{API_GROUP}_{kind.plural}.yaml"] = CRD_HEAD + crd
    return files


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
