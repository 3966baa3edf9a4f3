"""Writes what is made from the contract: the CRD and the API reference. `--check` only says what is out of date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from hardening_api.base import API_GROUP
from hardening_api.crd import build_crd
from hardening_api.kinds import KINDS
from hardening_api.reference import build_reference

ROOT = Path(__file__).resolve().parent.parent
CRD_HEAD = "# Made from crds/hardening_api by `make generate`; do not edit.\n"


class _PlainDumper(yaml.SafeDumper):
    """Writes equal parts out each time: anchors would make the CRD hard to read."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  (the signature is PyYAML's)
        return True


def generated() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    files = {ROOT / "docs" / "api-reference.md": build_reference()}
    for kind in KINDS.values():
        crd = yaml.dump(build_crd(kind), Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)
        files[ROOT / "crds" / f"{API_GROUP}_{kind.plural}.yaml"] = CRD_HEAD + crd
    return files


def main() -> int:
    """Write the files, or with `--check` name those that differ and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    check = parser.parse_args().check
    stale = [
        path for path, text in generated().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if check:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date: run make generate\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generated()[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
