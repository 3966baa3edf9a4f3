"""The prose linter reports what the style forbids, where it stands, and nothing else."""

from __future__ import annotations

import re

import pytest

from tools.prose import Style, check, main

STYLE = Style([], [], max_line=60, max_words=10, phrases={re.compile(r"\banew\b", re.I): "again"})


def _found(text: str, name: str = "page.md") -> list[tuple[int, str]]:
    return [(finding.line, finding.text) for finding in check(name, text, STYLE)]


def test_the_repository_keeps_to_its_style(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, capsys.readouterr().out


def test_a_phrase_is_reported_with_its_line_and_a_better_one() -> None:
    assert _found("# Start\n\nIt begins\nAnew.\n\nThe renewal is new.\n") == [(3, "'Anew': again")]


def test_a_long_sentence_is_reported_also_across_lines_but_not_two_short_ones() -> None:
    long = "one two three four five six\nseven eight nine ten eleven.\n"

    assert _found(long) == [(1, f"11 words: expected at most 10: {' '.join(long.split())[:50]} ...")]
    assert _found(long.replace("six", "six.")) == []
    assert _found(long.replace("six", "six:")) == []


def test_a_piece_of_code_is_one_word_and_has_no_phrases() -> None:
    assert _found("one two three four five `six seven anew eight nine\nten eleven`.\n") == []


def test_a_long_line_is_reported_but_not_in_code_tables_headings_or_without_a_place_to_break() -> None:
    long = "word " * 13

    assert (1, "65 columns: expected at most 60") in _found(f"{long}\n")
    assert _found(f"```console\n$ {long}\n```\n\n| {long} |\n|---|\n| {long} |\n\n# {long[:50]}\n") == []
    assert _found("x" * 70 + "\n") == []


def test_a_docstring_and_a_message_are_read_but_names_and_comments_of_code_are_not() -> None:
    code = 'def anew():\n    """Begin\n    anew."""\n    return "begin anew"  # anew\n'

    assert _found(code, "module.py") == [(3, "'anew': again"), (4, "'anew': again")]


def test_comments_of_a_values_file_are_read_but_its_values_are_not() -> None:
    assert _found("# begins anew\nkey: anew\nother: 1 # anew\n", "values.yaml") == [
        (1, "'anew': again"),
        (3, "'anew': again"),
    ]
    assert _found("begin anew\n", "NOTES.txt") == [(1, "'anew': again")]
