"""`python sbom.py IMAGE FILE`: the Python packages of this interpreter as a CycloneDX bill of materials.

Needs the standard library only, and says the same for the same packages: no time, no random number.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

Document = dict[str, Any]


def bill_of_materials(image: str, installed: Iterable[Distribution]) -> Document:
    """Return the CycloneDX 1.5 document of an image called ``image`` that holds the packages ``installed``."""
    components = sorted((_component(package) for package in installed), key=lambda component: component["purl"])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": image}},
        "components": components,
    }


def _component(package: Distribution) -> Document:
    name, version = package.metadata["Name"], package.version
    component: Document = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{version}",
    }
    expression, text = package.metadata.get("License-Expression"), package.metadata.get("License") or ""
    if expression:
        component["licenses"] = [{"expression": expression}]
    elif text and "\n" not in text:  # older packages put the whole licence there
        component["licenses"] = [{"license": {"name": text}}]
    return component


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(bill_of_materials(sys.argv[1], distributions()), indent=1) + "\n")
