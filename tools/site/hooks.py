"""MkDocs hooks: the site also shows what the pages link to outside docs/, and reads their fences as the tests do.

README.md becomes the first page and CONTRIBUTING.md one of its own. Any other file that a page links to is shown
below `source/`: Markdown as a page, everything else as code. So every link works without a network.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs/"
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the repository that are pages, and their paths on the site."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "bash"}
_ITEM = re.compile(r"([-*]|\d+\.) +")
_FENCE = re.compile(r"( *)```(\w+) (\S+).*")
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and all that they and the others link to."""
    waiting = [*PAGES, *(f"{DOCS}{file.src_uri}" for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith(DOCS):
            files.append(File.generated(config, site_path(path), content=_content(path)))
        if path.endswith(".md"):
            found = {target for target in _targets(path) if not target.startswith(DOCS)} - seen
            waiting.extend(sorted(found))
            seen |= found
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links between files of the repository into links between pages, and fences and lists into MkDocs' form."""
    place = repository_path(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        target = site_path(_resolved(place, link[1]))
        return f"]({posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or '.')}{link[2] or ''})"

    return "\n".join(_indented(_each_line(markdown, lambda line: _LINK.sub(moved, line))))


def site_path(path: str) -> str:
    """Return where the site has a file of the repository."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    return PAGES.get(path) or f"source/{path.removesuffix('.md')}.md"


def repository_path(path: str) -> str:
    """Return the file of the repository that a page of the site shows."""
    shown = {site: file for file, site in PAGES.items()}.get(path)
    if shown is not None:
        return shown
    if not path.startswith("source/"):
        return DOCS + path
    name = path.removeprefix("source/")
    return name if (ROOT / name).exists() else name.removesuffix(".md")


def _content(path: str) -> str:
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return text
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n````{language}\n{text.rstrip()}\n````\n"


def _targets(path: str) -> Iterator[str]:
    """Yield the files that a page links to; a link that leads nowhere is left to MkDocs to report."""
    found: list[str] = []

    def noted(line: str) -> str:
        found.extend(_resolved(path, link[1]) for link in _LINK.finditer(line))
        return line

    list(_each_line((ROOT / path).read_text(), noted))
    yield from (target for target in found if (ROOT / target).is_file())


def _resolved(path: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def _each_line(markdown: str, prose: Callable[[str], str]) -> Iterator[str]:
    """Yield the lines, those outside fences through ``prose``; a fence's second word, if a file, becomes its title."""
    fence = ""
    for line in markdown.splitlines():
        marks = line.lstrip()
        if fence:
            yield line
            if marks.rstrip() == fence:
                fence = ""
        elif marks.startswith("```"):
            fence = "`" * (len(marks) - len(marks.lstrip("`")))
            yield _FENCE.sub(lambda m: f"{m[1]}```{m[2]}" + (f' title="{m[3]}"' if "." in m[3] else ""), line)
        else:
            yield prose(line)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    """Indent what follows a list item's first line by four columns, as Python-Markdown asks; CommonMark takes less."""
    width = 0
    for line in lines:
        item = _ITEM.match(line)
        if item is not None:
            width = item.end()
            yield line
        elif width and line.startswith(" " * width):
            yield " " * 4 + line[width:]
        else:
            width = width if not line.strip() else 0
            yield line
