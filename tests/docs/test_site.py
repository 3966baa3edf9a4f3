"""The site that `make docs` builds: every link works, and nothing is fetched from elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT

pytest.importorskip("mkdocs", reason="mkdocs is not installed: make setup")


def _build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "-f", str(root / "mkdocs.yml"), "-d", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = _build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_readme_is_the_first_page_and_a_file_linked_outside_docs_is_a_page_too(site: Path) -> None:
    assert "<h1" in (site / "index.html").read_text()
    assert 'href="concepts.html"' in (site / "index.html").read_text()
    assert (site / "source" / "operator" / "hardening_operator" / "planner" / "run.py.html").exists()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = re.compile(
        r"""<(?:script|img|iframe)[^>]*src=["']?(?:https?:)?//[^>]*|<link[^>]*href=["']?(?:https?:)?//[^>]*"""
    )
    pages = sorted(site.rglob("*.html"))

    assert len(pages) > 30
    assert {tag for page in pages for tag in fetched.findall(page.read_text())} == set()
    assert "mermaid" not in (site / "architecture.html").read_text()


def test_every_page_can_be_found_by_its_words(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    found = {
        entry["location"].partition("#")[0]
        for entry in entries
        if "direct harmfulness" in entry["title"].lower() + entry["text"].lower()
    }

    assert {"concepts.html", "index.html"} <= found


def test_what_follows_in_a_list_item_is_part_of_it(site: Path) -> None:
    text = (site / "runbooks" / "RunFailed.html").read_text()

    assert "```" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert re.search(r"<li>\s*<p>Fix the cause.*?</p>\s*<div class=\"highlight\"", text, re.DOTALL)


@pytest.mark.parametrize("link", ["[x](nowhere.md)", "[x](install.md#nowhere)", "[x](../nowhere.py)"])
def test_a_link_that_leads_nowhere_fails_the_build(link: str, tmp_path: Path) -> None:
    root = tmp_path / "repository"
    for name in ("docs", "tools/site", "examples/data", "tests/cluster", "operator/hardening_operator/planner"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("README.md", "CONTRIBUTING.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, root / name)
    page = root / "docs" / "uninstall.md"
    page.write_text(f"{page.read_text()}\n{link}\n")
    done = _build(root, tmp_path / "site")

    assert done.returncode != 0
    assert "uninstall.md" in done.stderr
