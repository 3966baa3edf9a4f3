"""The prose linter: `python -m tools.prose [FILE...]` reports long sentences, long lines and phrases to avoid.

    Markdown       every rule; code blocks, inline code and tables are left out of lengths
    Python         the phrases, in docstrings and in the texts of messages
    YAML, text     the phrases, in comments of values files and in the chart's notes

The style is `tools/prose.toml`. Vale would do the same, but its package downloads its program when it first runs.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
CODE = "`code`"
"""Stands for inline code in a sentence: one word."""
_SENTENCE_END = re.compile(r"(?<=[.!?:;])[)\"*_]*\s+")


@dataclass(frozen=True)
class Style:
    """What `prose.toml` says."""

    files: list[str]
    generated: list[str]
    max_line: int
    max_words: int
    phrases: dict[re.Pattern[str], str]

    @classmethod
    def read(cls) -> Style:
        """Read the style. Raises KeyError on a missing setting, re.error on a wrong pattern."""
        settings = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
        phrases = {re.compile(rf"\b(?:{pattern})\b", re.I): better for pattern, better in settings["phrases"].items()}
        names = ("files", "generated", "max_line", "max_words")
        return cls(**{name: settings[name] for name in names}, phrases=phrases)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing to correct."""

    line: int
    text: str


def check(name: str, text: str, style: Style) -> list[Finding]:
    """Return what is wrong with the file `name`, in the order of its lines."""
    if name.endswith(".md"):
        return sorted([*_long_lines(text, style), *_markdown(text, style)])
    if name.endswith(".py"):
        return sorted(_phrases(_python(text), style))
    return sorted(_phrases(_comments(text, whole=name.endswith(".txt")), style))


def _long_lines(text: str, style: Style) -> Iterator[Finding]:
    lines = text.splitlines()
    code = {
        line
        for token in MarkdownIt("commonmark").parse(text)
        if token.type in ("fence", "code_block", "html_block") and token.map
        for line in range(*token.map)
    }
    for index, line in enumerate(lines):
        breakable = " " in line.strip()[: style.max_line]
        if (
            len(line) > style.max_line
            and breakable
            and index not in code
            and not line.lstrip().startswith(("|", "#", "!["))
        ):
            yield Finding(index + 1, f"{len(line)} columns: expected at most {style.max_line}")


def _markdown(text: str, style: Style) -> Iterator[Finding]:
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    in_table = False
    for token in tokens:
        in_table = {"table_open": True, "table_close": False}.get(token.type, in_table)
        if token.type != "inline" or token.map is None:
            continue
        words = _words(token)
        yield from _phrases([(token.map[0] + 1, words)], style)
        if not in_table:
            yield from _long_sentences(token.map[0] + 1, words, style)


def _words(token: Token) -> str:
    """Return what a reader reads of a paragraph, with one word for a piece of code."""
    parts = {"code_inline": CODE, "softbreak": " ", "image": ""}
    return "".join(parts.get(child.type, child.content) for child in token.children or ())


def _long_sentences(line: int, words: str, style: Style) -> Iterator[Finding]:
    for sentence in _SENTENCE_END.split(words):
        count = len(sentence.split())
        if count > style.max_words:
            yield Finding(line, f"{count} words: expected at most {style.max_words}: {sentence[:50]} ...")


def _python(text: str) -> Iterator[tuple[int, str]]:
    """Yield docstrings, and other texts of several words."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def _comments(text: str, *, whole: bool) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        found = re.search(r"(?:^|\s)#\s*(.*)", line)
        if whole or found:
            yield number, line if whole or found is None else found[1]


def _phrases(places: Iterable[tuple[int, str]], style: Style) -> Iterator[Finding]:
    for line, words in places:
        for pattern, better in style.phrases.items():
            for match in pattern.finditer(words):
                at = line + words.count("\n", 0, match.start())
                yield Finding(at, f"'{' '.join(match[0].split())}': {better}")


def main(names: list[str]) -> int:
    """Check the files given, or all that the style names; return the exit code."""
    style = Style.read()
    files = [Path(name) for name in names] or sorted({file for glob in style.files for file in ROOT.glob(glob)})
    found = 0
    for file in files:
        name = str(file.resolve().relative_to(ROOT))
        if name in style.generated:
            continue
        for finding in check(name, file.read_text(), style):
            print(f"{name}:{finding.line}: {finding.text}")  # noqa: T201  # its output
            found += 1
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
