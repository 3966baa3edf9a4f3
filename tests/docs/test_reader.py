"""The reader of pages takes what may differ for equal, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pages import ROOT, Block, commands, difference, shape


def _console(text: str) -> Block:
    return Block(ROOT / "docs" / "page.md", 1, "console", (), text)


def test_commands_are_told_from_what_they_show() -> None:
    text = "$ helm install a b \\\n    --wait\nNAME: a\n$ kubectl apply -f - <<'RUN'\nkind: A\nRUN\nmade\n\n$ true\n"
    found = [(command.text, command.shown) for command in commands(_console(text))]

    assert found == [
        ("helm install a b \\\n    --wait", ("NAME: a",)),
        ("kubectl apply -f - <<'RUN'\nkind: A\nRUN", ("made", "")),
        ("true", ()),
    ]


def test_a_block_that_does_not_begin_with_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match=r"docs/page\.md:1: got 'NAME: a': expected a command"):
        list(commands(_console("NAME: a\n")))


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        ("a   Running   40s", "a Running 1m3s"),
        ("a-r1-attack-0-5m2xk   1/1", "a-r1-attack-0-w9c7d   1/1"),
        ("hardening-7d4b9f6c5d-x2x5z   1/1", "hardening-5c9f8b7d6-k4lpz   1/1"),
        ("candidate sha256:" + "ab" * 32, "candidate sha256:" + "cd" * 32),
        ("harm 0.52   1", "harm 0.9166666666666666   1"),
        ("harm 0.52", "harm 1"),
        ("LAST DEPLOYED: ...", "LAST DEPLOYED: Thu Nov 26 01:02:03 2026"),
        ("at 2026-11-24T18:00:00Z", "at 2027-01-02T03:04:05Z"),
    ],
)
def test_what_may_differ_may_differ(shown: str, seen: str) -> None:
    assert difference([shown], [seen]) is None


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        ("a   Running   40s", "a   Failed   40s"),
        ("a-r1-attack", "a-r1-score"),
        ("READY 2/2", "READY 1/2"),
        ("first", "first\nsecond"),
        ("first\n...\nlast", "first\nother"),
        ("first\nsecond", "second\nfirst"),
    ],
)
def test_what_may_not_differ_may_not(shown: str, seen: str) -> None:
    assert difference(shown.splitlines(), seen.splitlines()) is not None


def test_dots_stand_for_any_lines_also_for_none() -> None:
    assert difference(["a", "...", "z"], ["a", "z"]) is None
    assert difference(["a", "...", "z"], ["a", "b", "", "c", "z"]) is None
    assert difference(["..."], []) is None


def test_a_difference_names_what_is_missing_and_what_is_new() -> None:
    assert difference(["a", "b"], ["a", "c"]) == "- b\n+ c"


def test_words_are_no_random_names() -> None:
    for name in ("first-run-r1-score", "train-defender", "hardening-system"):
        assert shape(name) == name
    assert shape(str(Path("a-b")) + "  c") == "a-b c"
