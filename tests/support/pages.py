"""The pages of the documentation, read: their commands with what each shows, their manifests, their links.

    ```console           run by the tests, in the order of the page, and compared with what is shown
    ```console fails     the same, of commands that must end with an error
    ```console shown     not run: it takes what a test does not have (a registry, a person, an hour)
    ```yaml NAME         the file NAME of the commands that follow
    ```yaml part         fields of a larger manifest, not valid alone

Of what is shown, a line `...` stands for any lines and `...` within a line for any text. Ages, times, digests,
fractions, the widths of tables and the random ends of names may differ: `shape` takes them out of both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANY = "..."
# Letters and digits that Kubernetes makes random names of: no vowels, nothing that looks like another.
RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
VARYING = {
    r"─+": "<rule>",  # as wide as the times above and below it
    r"sha256:[0-9a-f]{64}|\b[0-9a-f]{12}-[0-9a-f]{12}\b": "<digest>",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?UTC|Z)?": "<time>",
    rf"-{RANDOM}{{6,10}}-{RANDOM}{{5}}\b": "-<random>",
    rf"-{RANDOM}{{5}}\b": "-<random>",
    r"\b(\d+ h \d+ min|\d+ min \d+ s|\d+ s)\b": "<age>",
    r"\b(\d+d)?(\d+h)?(\d+m)?(\d+s)\b|\b\d+d\d+h\b|\b\d+h\d+m\b|\b\d+[dhm]\b": "<age>",
    r"-?\b[01]\.\d+\b(?!\.)": "<fraction>",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    """What follows the language: `shown`, `fails`, the name of a file."""
    text: str

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a block, and the lines shown below it."""

    place: str
    text: str
    shown: tuple[str, ...]


def pages() -> list[Path]:
    """Return every page that a reader may come to."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, also those within a list."""
    lines = page.read_text().splitlines()
    number = 0
    while number < len(lines):
        opened = re.fullmatch(r"( *)```(\w*)(.*)", lines[number])
        number += 1
        if opened is None:
            continue
        indent, first, held = len(opened[1]), number, []
        while lines[number].strip() != "```":
            held.append(lines[number][indent:])
            number += 1
        number += 1
        yield Block(page, first, opened[2], tuple(opened[3].split()), "\n".join(held) + "\n")


def commands(block: Block) -> Iterator[Command]:
    r"""Yield the commands of a console block: each line from `$ `, with those that a `\` or a here-document adds."""
    lines = block.text.splitlines()
    number = 0
    while number < len(lines):
        if not lines[number].startswith("$ "):
            raise ValueError(f"{block.place}: got {lines[number]!r}: expected a command, which begins with `$ `")
        place = f"{block.page.relative_to(ROOT)}:{block.line + 1 + number}"
        typed = [lines[number][2:]]
        number += 1
        while typed[-1].endswith("\\") or _is_open(typed):
            typed.append(lines[number])
            number += 1
        first = number
        while number < len(lines) and not lines[number].startswith("$ "):
            number += 1
        yield Command(place, "\n".join(typed), tuple(lines[first:number]))


def _is_open(typed: Sequence[str]) -> bool:
    """Whether a here-document has begun and not ended."""
    begun = re.search(r"<<'?(\w+)'?", typed[0])
    return begun is not None and typed[-1] != begun[1]


def shape(line: str) -> str:
    """Return a line without what may differ from one time to the next."""
    text = " ".join(re.sub(r"[^\S ]+", " ", line).split())
    for pattern, name in VARYING.items():
        text = re.sub(pattern, name, text)
    return text


def difference(shown: Sequence[str], seen: Sequence[str]) -> str | None:
    """Return in words where what was seen is not of the shape of what a page shows; None when it is."""
    wanted = [shape(line) for line in shown if line.strip()]
    found = [shape(line) for line in seen if line.strip()]
    if _fits(wanted, found):
        return None
    missing = [line for line in wanted if line != ANY and not any(_line_fits(line, other) for other in found)]
    extra = [line for line in found if not any(_line_fits(other, line) for other in wanted if other != ANY)]
    told = [*(f"- {line}" for line in missing), *(f"+ {line}" for line in extra)] or ["the order differs"]
    return "\n".join(told)


def _fits(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Match line by line, `...` any number of lines; the longest match of a prefix is kept in `reached`."""
    reached = {0}
    for line in wanted:
        if line == ANY:
            reached = set(range(min(reached), len(found) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(found) and _line_fits(line, found[at])}
    return len(found) in reached


def _line_fits(wanted: str, found: str) -> bool:
    parts = [re.escape(part).replace("<fraction>", "(<fraction>|[01])") for part in wanted.split(ANY)]
    return re.fullmatch(".*".join(parts), found) is not None


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Yield line and target of every link and image to a place in this repository."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        if fenced:
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if not re.match(r"[a-z]+:", target):
                yield number, target


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    fenced = False
    for line in page.read_text().splitlines():
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else re.fullmatch(r"#+ (.*)", line)
        if heading is not None:
            words = re.sub(r"[^\w\- ]", "", heading[1].lower())
            found.add(words.replace(" ", "-"))
    return found
