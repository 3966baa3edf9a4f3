"""Which variants count, and how different they are: pure functions over text.

A variant must be new, complete, not a refusal of the attacker, and still ask for the same thing. Diversity is
measured on what the attacker wrote, not on the request it may have kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from hardening_trainer.judges.refusal_pattern import classify
from hardening_trainer.segmentation import is_unspaced, length_in_words, pieces, words

Status = Literal["Valid", "Empty", "Duplicate", "Copy", "Refusal", "OverLong", "OffTopic"]

LEAST_WORDS = 3
"""A variant of fewer words is as good as empty."""
COPIED_SHARE = 0.9
"""What the attacker wrote is a copy when it keeps this share of the prompt's content words and adds next to none."""
ADDED_WORDS = 2

STEM_LETTERS = 5
"""What stands for a word in Cyrillic, Greek, Arabic and the like."""

_BLEU_ORDER = 4
_BLEU_EPSILON = 0.1
_SUFFIXES = ("ingly", "edly", "ings", "ing", "ies", "ied", "est", "ed", "er", "es", "ly", "s", "e", "y")
_FUNCTION_WORD_LIST = (
    "a about after all also am an and any are as at be been before but by can could did do does don't for from get had "
    "has have he her his how i i'd i'm if in into is it its just like may me might my no not of on or our out should "
    "so some someone such than that the their them then there these they this to too up us was we were what when where "
    "which while who whom whose why will with without would you your"
)
_FUNCTION_WORDS = frozenset(_FUNCTION_WORD_LIST.split())


@dataclass(frozen=True)
class Variant:
    """One sampled variant; `written` is what the attacker put down, `text` what the defender would be asked."""

    text: str = field(repr=False)
    written: str = field(repr=False)
    status: Status


@dataclass(frozen=True)
class RawVariant:
    """A variant before it is classified."""

    text: str = field(repr=False)
    written: str = field(repr=False)
    complete: bool


def classified(prompt: str, raw_variants: Sequence[RawVariant], min_faithfulness: float) -> list[Variant]:
    """Return each variant of `prompt` with its status: `Valid`, or the first reason why it does not count."""
    seen: set[str] = set()
    variants = []
    for raw in raw_variants:
        status = _status(prompt, raw, seen, min_faithfulness)
        seen.add(plain(raw.text))
        variants.append(Variant(raw.text, raw.written, status))
    return variants


def _status(prompt: str, raw: RawVariant, seen: set[str], min_faithfulness: float) -> Status:  # noqa: PLR0911  # one for each status
    if length_in_words(words(raw.written)) < LEAST_WORDS:
        return "Empty"
    if plain(raw.text) in seen:
        return "Duplicate"
    if classify(raw.written)[0] != "full_compliance":
        return "Refusal"
    if is_copy(prompt, raw.written):
        return "Copy"
    if not raw.complete:
        return "OverLong"
    if faithfulness(prompt, raw.text) < min_faithfulness:
        return "OffTopic"
    return "Valid"


def plain(text: str) -> str:
    """Return a text's words alone; texts that differ in case, punctuation or space become equal."""
    return " ".join(words(text))


def stem(word: str) -> str:
    """Return a word without a common ending, as long as three letters are left (simple: `baking`, `bakes` -> `bak`).

    In scripts other than Latin a word is cut after five letters.
    """
    if not word.isascii() and not word[0].isascii():
        return word[:STEM_LETTERS]
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word


def content_words(text: str) -> set[str]:
    """Return what carries the meaning: stems of words, and short runs of characters where words are not spaced."""
    spaced = {stem(word) for word in words(text) if word not in _FUNCTION_WORDS and not _is_in_pieces(word)}
    return spaced | set(pieces(text))


def _is_in_pieces(word: str) -> bool:
    return is_unspaced(word[0]) or "\u1100" <= word[0] <= "\ud7af"


def faithfulness(prompt: str, variant: str) -> float:
    """Return the share of the prompt's content words that the variant keeps; 1 for a prompt without any."""
    wanted = content_words(prompt)
    return len(wanted & content_words(variant)) / len(wanted) if wanted else 1.0


def is_copy(prompt: str, written: str) -> bool:
    """Whether what the attacker wrote is the prompt again, give or take a word or two."""
    added = set(words(written)) - set(words(prompt))
    return length_in_words(sorted(added)) <= ADDED_WORDS and faithfulness(prompt, written) >= COPIED_SHARE


def distinct_bigrams(texts: Sequence[str]) -> float | None:
    """Return distinct bigrams over all bigrams of the texts (distinct-2, arXiv 1510.03055); None without bigrams."""
    bigrams = [pair for text in texts for pair in _ngrams(words(text), 2)]
    return len(set(bigrams)) / len(bigrams) if bigrams else None


def self_bleu(texts: Sequence[str]) -> float | None:
    """Return the mean BLEU-4 of each text against all others (arXiv 1802.01886); None for fewer than two texts.

    1 means alike. An n-gram order without a match counts 0.1 matches (NLTK's smoothing method 1).
    """
    tokens = [words(text) for text in texts]
    if len(tokens) < 2:
        return None
    scores = [_bleu(text, tokens[:index] + tokens[index + 1 :]) for index, text in enumerate(tokens)]
    return math.fsum(scores) / len(scores)


def _bleu(text: list[str], others: Sequence[list[str]]) -> float:
    precisions = [_precision(text, others, order) for order in range(1, _BLEU_ORDER + 1)]
    if precisions[0][0] == 0:
        return 0.0
    logs = [math.log((matches or _BLEU_EPSILON) / total) for matches, total in precisions]
    closest = min((len(other) for other in others), key=lambda length: (abs(length - len(text)), length))
    brevity = min(0.0, 1 - closest / len(text))
    return math.exp(brevity + math.fsum(logs) / _BLEU_ORDER)


def _precision(text: list[str], others: Sequence[list[str]], order: int) -> tuple[int, int]:
    counts = Counter(_ngrams(text, order))
    most: Counter[tuple[str, ...]] = Counter()
    for other in others:
        most |= Counter(_ngrams(other, order))
    return (counts & most).total(), max(1, counts.total())


def _ngrams(tokens: Sequence[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1)]
