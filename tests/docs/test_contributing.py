"""The map in CONTRIBUTING names files that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.support.pages import ROOT


def named_paths(page: str) -> Iterator[tuple[str, Path]]:
    """Yield what each row of the map names, and where: a bare name is beside the path before it, or in that folder."""
    section = page.partition("## Which file do I open?")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| (?!to change|---)[^|]+\|(.+)\|$", section, re.MULTILINE):
        folder = ROOT
        for text in re.findall(r"`([^`]+)`", row):
            if text.startswith("make "):
                continue
            for name in expanded(text):
                path = ROOT / name if "/" in name or folder == ROOT else folder / name
                yield row.strip(), path
                if "/" in name:
                    folder = path if name.endswith("/") else path.parent


def expanded(text: str) -> list[str]:
    """Return the names that `a/{b,c}.py` stands for."""
    parts = [part.split(",") if index % 2 else [part] for index, part in enumerate(re.split(r"[{}]", text))]
    return ["".join(chosen) for chosen in product(*parts)]


MAP = list(named_paths((ROOT / "CONTRIBUTING.md").read_text()))


@pytest.mark.parametrize(("row", "path"), MAP, ids=[str(path.relative_to(ROOT)) for _, path in MAP])
def test_what_the_map_names_exists(row: str, path: Path) -> None:
    assert path.exists(), row


def test_the_map_is_read() -> None:
    names = {str(path.relative_to(ROOT)) for _, path in MAP}
    assert {"crds/hardening_api/run.py", "crds/hardening_api/pods.py", "charts/hardening-operator/values.yaml"} <= names
    assert len(MAP) > 40


def test_a_path_that_is_gone_is_found() -> None:
    page = "## Which file do I open?\n\n| to change | open |\n|---|---|\n| x | `docs/`, `no_such_page.md` |\n\n## Rules"
    assert [path.exists() for _, path in named_paths(page)] == [True, False]
