"""The planner and the builders are pure. import-linter sees imports; calls of builtins and of a clock are read here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hardening_operator

ROOT = Path(hardening_operator.__file__).parent
PURE = sorted(path for folder in ("planner", "resources") for path in (ROOT / folder).rglob("*.py"))
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter", "sleep"}
OWNERS = {"datetime", "date", "time"}
BUILTINS = {"open", "input", "print", "exec", "eval", "__import__", "id", "hash"}
"""`hash` of text and `id` differ from process to process."""
MODULES = {"random", "secrets", "uuid", "time", "os", "subprocess", "socket", "importlib"}


def impurities(source: str) -> list[str]:
    """Return what in ``source`` depends on more than its arguments, as `line: name`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in BUILTINS:
                found.append(f"{node.lineno}: {name}")
            case ast.Call(func=ast.Attribute(attr=name, value=ast.Name(id="datetime" | "date" | "time"))) if (
                name in CLOCKS
            ):
                found.append(f"{node.lineno}: {name}")
            case ast.Import(names=names) if {each.name.partition(".")[0] for each in names} & MODULES:
                found.append(f"{node.lineno}: import")
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                found.append(f"{node.lineno}: import")
            case ast.Global():
                found.append(f"{node.lineno}: global")
            case _:
                continue
    return found


@pytest.mark.parametrize("path", PURE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_module_of_the_core_depends_on_its_arguments_only(path: Path) -> None:
    assert impurities(path.read_text()) == []


def test_the_core_is_there_to_be_checked() -> None:
    assert {path.parent.name for path in PURE} == {"planner", "resources"}
    assert len(PURE) > 25


@pytest.mark.parametrize(
    "sample",
    [
        "from datetime import UTC, datetime\nsince = datetime.now(UTC)",
        "def due(datetime):\n    return datetime.utcnow()",
        "import time\nstart = time.time()",
        "from time import monotonic",
        "text = open('/etc/hostname').read()",
        "import random\nseed = random.random()",
        "def f():\n    from secrets import token_hex\n    return token_hex()",
        "import os.path",
        "order = sorted(names, key=lambda name: hash(name))",
        "def count():\n    global total\n    total += 1",
    ],
)
def test_a_bad_sample_is_found(sample: str) -> None:
    assert impurities(sample)
