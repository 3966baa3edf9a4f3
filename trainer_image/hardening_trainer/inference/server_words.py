"""The part of a server's error that may be repeated: its own words, never a row's text or a key."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

LONGEST = 200
READ = 20_000
ECHO = 14
"""So many letters and digits in common with a question are taken from it."""
SHORT_ECHO = 5
"""A question of fewer letters is too short to distinguish an echo from chance."""

_NAMES = ("message", "detail", "error", "msg", "title", "description")
_CODES = ("code", "type", "status", "reason")
_SECRET = re.compile(r"\b(?:sk|pk|key|bearer)[-_ ][A-Za-z0-9*_.-]{4,}|\b[A-Za-z0-9_-]{32,}\b", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{1,39}")


def server_words(body: str, asked: Sequence[str], api_key: str | None = None) -> str:
    """Return an error body's code and message on one line, at most 200 characters; a message that echoes is left out.

    `asked` holds the texts that were sent.
    """
    try:
        parsed = json.loads(body[:READ])
    except (ValueError, RecursionError):
        return ""  # a page of HTML, or anything at all
    codes = [code for code in _found(parsed, _CODES) if _CODE.fullmatch(code) and not _echoes(code, asked)]
    messages = [_clean(message, api_key) for message in _found(parsed, _NAMES)]
    repeated = [message for message in messages if message and not _echoes(message, asked)]
    return "; ".join(dict.fromkeys([*codes[:1], *repeated[:1]]))[:LONGEST]


def _found(value: Any, names: Sequence[str], depth: int = 0) -> Iterator[str]:
    """The texts under these names, the outermost first."""
    if depth > 4:
        return
    if isinstance(value, list):
        for item in value[:5]:
            yield from _found(item, names, depth + 1)
    if isinstance(value, dict):
        yield from (value[name] for name in names if isinstance(value.get(name), str))
        for item in value.values():
            yield from _found(item, names, depth + 1)


def _clean(text: str, api_key: str | None) -> str:
    if api_key:
        text = text.replace(api_key, "***")
    text = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(_SECRET.sub("***", text).split())


def _echoes(text: str, asked: Sequence[str]) -> bool:
    """Whether a text repeats a stretch of what was asked, however it was quoted or escaped."""
    said = _letters(text)
    for question in asked:
        for part in _parts(question):
            letters = _letters(part)
            if SHORT_ECHO <= len(letters) <= ECHO and letters in said:
                return True
            if any(said[start : start + ECHO] in letters for start in range(len(said) - ECHO + 1)):
                return True
    return False


def _parts(question: str) -> list[str]:
    """A question that is JSON is compared by its texts, and by those alone: its field names are ours."""
    try:
        material = json.loads(question)
    except (ValueError, RecursionError):
        return [question]
    return (
        [value for value in material.values() if isinstance(value, str)] if isinstance(material, dict) else [question]
    )


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())
