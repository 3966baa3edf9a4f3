# ruff: noqa: RUF001 - look-alike letters are what this file is about
"""Brings the many ways to write a refusal to the one that the rules know.

JSON around it, markup, look-alike letters, accents, lost apostrophes, spoken forms --> plain lower-case English
"""

import html
import re
import unicodedata
from typing import Any

from hardening_trainer.judges.answers import unwrapped

VERSION = 1

_APOSTROPHES = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u00b4\u2032\uff07", "'")
    | dict.fromkeys("\u201c\u201d\u201f\u201e\u00ab\u00bb", '"')
)
_BACKTICK_APOSTROPHE = re.compile(r"(?<=[a-z])`(?=(?:t|m|re|ve|ll|d|s)\b)", re.IGNORECASE)
_LOOK_ALIKES = str.maketrans(
    dict(
        zip(
            "авекмнорстухіјѕԁһոսαεικνορτυχωɡıᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",
            "abekmhopctyxijsdhnuaeiknoptyxwgiabcdefghijklmnoprstuvwyz",
            strict=True,
        )
    )
    | dict(zip("АВЕКМНОРСТУХІЈЅΑΒΕΗΙΚΜΝΟΡΤΥΧΖ", "abekmhopctyxijsabehikmnoptyxz", strict=True))
)
_FIGURES = str.maketrans("43015@$7", "aeoisast")
_HYPHENS = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_TAG = re.compile(
    r"</?(?:b|i|u|s|em|strong|p|span|div|code|pre|mark|del|ins|br|h[1-6]|li|ul|ol|font|a|center|blockquote)\b[^<>]*>",
    re.IGNORECASE,
)
_LATEX = re.compile(r"\\(?:text\w*|emph|math\w+|boxed|underline)\{([^{}]*)\}")
_EMPHASIS = re.compile(
    r"\*+(?=\S)|(?<=\S)\*+|~~|`+(?:\w*\n)?|(?<![\w])_+(?=\w)|(?<=\w)_+(?!\w)|^\s*(?:#+|>+)\s*", re.MULTILINE
)
_SPACED_LETTERS = re.compile(r"(?<![\w'])(?:\w[ .\-_*]){3,}\w(?![\w'])")
_WORD_IN_FIGURES = re.compile(r"\b(?=\w*[a-z])(?=\S*[0-9@$])[a-z0-9@$']{3,}(?<!\d)\b", re.IGNORECASE)
_ORDINARY_FIGURES = re.compile(
    r"\d+(?:st|nd|rd|th|s|k|m|g|kg|mg|ml|cm|mm|km|am|pm|x|d|h|px|gb|mb)?|[a-z]+\d+|.*@.*\..*", re.IGNORECASE
)
_LONE_QUOTES = re.compile(r"(?<![\w'])(?:\"(\w+)\"|'(\w+)')(?![\w'])")

_NEGATED = "ca|do|does|did|wo|is|are|was|were|would|could|should|have|has|had|ai|must|need"
# Where an apostrophe was lost, or the word written as it is said.
_RESPELLED: tuple[tuple[str, str], ...] = (
    (rf"\b({_NEGATED})\s*n\s*'\s*t\b", r"\1n't"),
    (r"\b(can|won|don|isn|aren|couldn|wouldn|shouldn|doesn)\s*'\s*t\b", r"\1't"),
    (r"\b(can|won|don|isn|aren|couldn|wouldn|shouldn|doesn|didn|ain|wasn) ?t\b", r"\1't"),
    (r"\b(i|we|you|they)\s*'\s*(m|re|ve|ll|d)\b", r"\1'\2"),
    (r"\bim\b|\bi m\b|\bima\b", "i'm"),
    (r"\bi ma\b", "i'm"),
    (r"\bive\b", "i've"),
    (r"\bi ll\b|\bill (?=have to|pass|not\b|never)", "i'll "),
    (r"\bid (?=rather|have to|prefer|love to|like to)", "i'd "),
    (r"\b(that|here|there|what)s\b", r"\1's"),
    (r"\bits (?=not|illegal|wrong|against|un|in)", "it's "),
    (r"\byoure\b", "you're"),
    (r"\bcan[- ]?-?not\b|\bcan\s+not\b|\bcannt\b|\bcanot\b|\bcanno\b|\bkannot\b|\bcnt\b|\bcaan't\b", "cannot"),
    (r"\bun-?\s?able\b", "unable"),
    (r"\bain't\b", "am not"),
    (r"\b(?:i'm|i am) am not\b|\bi'm not\b", "i'm not"),
    (r"\bgonna\b|\bgunna\b|\bfinna\b", "going to"),
    (r"\bgotta\b|\bgot to\b", "have to"),
    (r"\bwanna\b", "want to"),
    (r"\bnaw\b|\bnah+\b|\bnope+\b|\bnuh[- ]uh\b", "no"),
    (r"\bsry\b|\bsrry\b|\bsory\b|\bsoz\b|\bsorri\b", "sorry"),
    (r"\bu\b", "you"),
    (r"\bhelp you(?:'?all)?\b|\bhelp ya\b", "help you"),
    (r"\bdat\b", "that"),
    (r"\bwit\b|\bw/(?=\s)", "with"),
)
_RESPELLINGS = tuple((re.compile(pattern), word) for pattern, word in _RESPELLED)


def plain_english(answer: str) -> str:
    """Return an answer in lower case, with straight quotes, without markup, in its usual spelling.

    >>> plain_english("**I** can\u2011not help")
    'i cannot help'
    """
    text = plain_letters(_BACKTICK_APOSTROPHE.sub("'", html.unescape(unwrapped(answer)))).strip()
    text = _EMPHASIS.sub("", _LATEX.sub(r"\1", _TAG.sub(" ", text)))
    text = _without_accents(text).lower()
    text = _SPACED_LETTERS.sub(lambda match: re.sub(r"[ .\-_*]", "", match.group()), text)
    text = _WORD_IN_FIGURES.sub(_word_from_figures, text)
    text = _LONE_QUOTES.sub(lambda match: match.group(1) or match.group(2), text)
    for pattern, word in _RESPELLINGS:
        text = pattern.sub(word, text)
    return text


def plain_letters(text: str) -> str:
    """Return a text with straight quotes, plain hyphens, no invisible characters and no Latin word in disguise."""
    text = "".join(char for char in text.translate(_APOSTROPHES) if unicodedata.category(char) != "Cf")
    text = _HYPHENS.sub("-", unicodedata.normalize("NFKC", text).translate(_APOSTROPHES))
    return re.sub(r"[^\W_]+", _latin_word, text)


def tables() -> list[Any]:
    """What decides how an answer is spelled, as plain JSON."""
    return [VERSION, [list(pair) for pair in _RESPELLED]]


def _without_accents(text: str) -> str:
    kept = (char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return "".join(kept)


def _latin_word(match: re.Match[str]) -> str:
    """A word that mixes scripts is Latin in disguise; a word of one script is left alone."""
    word = match.group()
    if word.isascii():
        return word
    changed = word.translate(_LOOK_ALIKES)
    return (
        changed if changed.isascii() and re.search(r"[A-Za-z\u0250-\u02ff\u1d00-\u1d7f\ua730-\ua7ff]", word) else word
    )


def _word_from_figures(match: re.Match[str]) -> str:
    word = match.group()
    return word if _ORDINARY_FIGURES.fullmatch(word) else word.translate(_FIGURES)
