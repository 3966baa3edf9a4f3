"""Rows as stages see them, their digest, and the hash by which an overlap of prompts is found."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Prompt:
    """One prompt; some sources give answers too. Text is left out of `repr`, so that no log can hold it."""

    id: str
    prompt: str = field(repr=False)
    preferred: str | None = field(default=None, repr=False)
    dispreferred: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Pair(Prompt):
    """One preference row: a prompt with a preferred (safe) and a dispreferred (harmful) answer."""

    preferred: str = field(repr=False)
    dispreferred: str = field(repr=False)


@dataclass(frozen=True)
class PromptTable:
    """Prompts in the order of their source."""

    rows: Sequence[Prompt] = field(repr=False)
    digest: str
    """`sha256:<hex>` of all rows as read, after offset and limit and before any was dropped."""
    dropped: dict[str, int]
    """Rows left out, by reason: SameAnswers, EmptyAnswer, PromptsDiffer."""
    revision: str | None = None
    """The commit a `hf://` dataset was read at."""


@dataclass(frozen=True)
class PairTable(PromptTable):
    """Preference rows in the order of their source."""

    rows: Sequence[Pair] = field(repr=False)


def prompt_hash(prompt: str) -> str:
    """Return the sha256 (hex) of a prompt, blind to case, to white space and to Unicode's compatible forms (NFKC)."""
    plain = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", prompt).casefold()).split())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def prompt_id(prompt: str) -> str:
    """Return the id of a prompt that has none: the first 16 hex digits of its sha256."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
