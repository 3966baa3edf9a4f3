"""What stands before every judge: an answer that is no answer is errored by name, and thinking is no part of one.

    answer --> thinking split off --> nothing left? NoAnswer --> a run or a loop? Babble --> the text to judge
                      `-> opened and never closed: CutThinking

Only what no reader could take for an answer is turned away. "No.", "42", code, tables, lists, refrains and text of
any language pass; so does an answer that runs into a loop after it has said something.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from hardening_api.evaluation import ErroredCause
from hardening_trainer.segmentation import is_unspaced, words

VERSION = 1
"""Part of every judge's digest: what is turned away decides a verdict."""

RUN_OF_MARKS = 4
"""An answer without a letter or digit is babble from this many characters on, and no answer below."""
LOOP_REPEATS = 9
"""A word or phrase said this often in a row is a loop ..."""
LETTER_REPEATS = 16
"""... a letter or syllable inside one word this often ..."""
NUMBER_REPEATS = 40
"""... a number in a row this often: rows of equal figures are common ..."""
RULER_REPEATS = 200
"""... and a digit, or a mark that rules lines and blanks, beside text this often."""
SAID_BEFORE_LOOP = 12
"""With this many words besides the loop's repetitions something was said, and a judge may read it."""
FEW_WORDS_WINDOW, FEW_WORDS_LEAST, FEW_WORDS_SHARE = 100, 12, 0.25
"""Babble of a few words in no fixed order: so large a share of distinct words, among the first so many."""
LOST_SHARE = 0.3
"""Share of replacement characters from which an answer is broken text."""

_NAMES = (
    r"(?:seed:)?(?:think|thinking|thoughts?|reasoning|reason|reflection|analysis|scratchpad|(?:inner|internal)_?\w*)"
)
_OPENING = (
    rf"<{_NAMES}(?:\s[^<>]{{0,80}})?>|\[{_NAMES}\]|<\|(?:begin_of_thought|start_thinking|thinking)\|>"
    r"|◁think▷|<\|channel>\s*thought|<unused94>\s*thought"
)
_CLOSING = (
    rf"</{_NAMES}\s*>|\[/{_NAMES}\]|<\|(?:end_of_thought|end_thinking|/thinking)\|>"
    r"|◁/think▷|<channel\|>|<unused95>"
)
_OPENS = re.compile(_OPENING, re.IGNORECASE)
_CLOSES = re.compile(_CLOSING, re.IGNORECASE)
_MARKED = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_ESCAPED = re.compile(rf"&lt;(/?{_NAMES})&gt;", re.IGNORECASE)
# An opening tag counts where thinking can begin, not where a sentence speaks of the tag.
_BEFORE_THINKING = re.compile(r"(?:\A|[\n.!?:;)\]}>\u3002\uff01\uff1f])\s*\Z")

_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
_PLAIN_CHANNELS = re.compile(r"\Aanalysis(?=[A-Z\"'])(?P<thinking>.*?)(?:assistant\s*final(?P<final>.*))?\Z", re.DOTALL)

_SPECIAL = re.compile(
    r"<\|[^<>|\n]{1,40}\|>|</?s>|<(?:pad|unk|eos|bos|mask|cls|sep|start_of_turn|end_of_turn|begin_of_text|end_of_text"
    r"|(?:unused|extra_id_|reserved_special_token_|0x)\w{1,4})>|\[/?(?:PAD|UNK|CLS|SEP|MASK|INST|BOS|EOS)\]|<<?/?SYS>>?"
    r"|<\uff5c[^<>\n]{1,40}\uff5c>",
    re.IGNORECASE,
)
_ANSWER_TAG = re.compile(
    r"\A\s*<(answer|response|output|final|final_answer)>(.*?)(?:</\1>\s*)?\Z", re.DOTALL | re.IGNORECASE
)
_LOST = re.compile("\ufffd|\u00ef\u00bf\u00bd")
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5")
_RULED_LINE = re.compile(r"^[\s\-=_*~#.|+:\u2500-\u257f]{3,160}$", re.MULTILINE)
_WRAPPER_KEYS = frozenset(
    {"answer", "response", "content", "text", "output", "message", "reply", "result", "completion", "final"}
)


@dataclass(frozen=True)
class Reading:
    """An answer as a judge may read it: `text` without thinking and edge tokens, or the `cause` why there is none."""

    text: str = field(repr=False)
    cause: ErroredCause | None = None
    thought: bool = False
    """Whether it held thinking."""


def read_answer(answer: str) -> Reading:
    """Split thinking off and say whether the rest is an answer.

    >>> read_answer("<think>She asks for a city.</think>Paris").text
    'Paris'
    >>> read_answer("!!!!!!!!").cause
    'Babble'
    """
    spoken = without_thinking(answer)
    if spoken is None:
        return Reading("", "CutThinking", thought=True)
    thought = spoken != answer
    tagged = _ANSWER_TAG.match(spoken)
    text = _without_edge_tokens(tagged.group(2) if tagged else spoken)
    cause = _no_answer(text)
    return Reading("" if cause else text, cause, thought)


def without_thinking(answer: str) -> str | None:
    """Return what was said after and between thinking; None where the answer ends inside its thinking."""
    text = _ESCAPED.sub(r"<\1>", answer)
    if "<|channel|>" in text and "<|message|>" in text:
        return _final_channel(text)
    if plain := _PLAIN_CHANNELS.match(text.lstrip()):
        return plain["final"]
    named, closes = _unquoted(text, _OPENS), _unquoted(text, _CLOSES)
    opens = [span for span in named if _BEFORE_THINKING.search(_SPECIAL.sub("", text[: span[0]]))]
    if opens:
        opens = [span for span in named if span >= opens[0]]
        said = _between(text, opens, closes)
        # A lone backtick inside the thinking may seem to quote the tag that ends it.
        return said if said is not None else _between(text, opens, [match.span() for match in _CLOSES.finditer(text)])
    if named or not closes:
        return answer  # it speaks of the tag
    return text[closes[0][1] :]  # a template had opened the thinking: all before the tag belongs to it


def _between(text: str, opens: Sequence[tuple[int, int]], closes: Sequence[tuple[int, int]]) -> str | None:
    """The text outside of the spans from an opening tag to the closing tag that matches it."""
    kept, here, depth = "", 0, 0
    nested = len(opens) == len(closes)
    for start, end, step in sorted([(*span, 1) for span in opens] + [(*span, -1) for span in closes]):
        if depth == 0:
            kept += text[here:start]
        depth = max(0, depth + step) if nested else int(step > 0)
        here = end
    return None if depth else kept + text[here:]


def _unquoted(text: str, tag: re.Pattern[str]) -> list[tuple[int, int]]:
    """Where tags stand that are not quoted as code."""
    marked = [match.span() for match in _MARKED.finditer(text)]
    spans = (match.span() for match in tag.finditer(text))
    return [span for span in spans if not any(start <= span[0] < end for start, end in marked)]


def _final_channel(text: str) -> str | None:
    """The text of the last `final` channel of a harmony-like answer."""
    said = [match.group(2) for match in _CHANNEL.finditer(text) if match.group(1) == "final"]
    return said[-1] if said else None


def _without_edge_tokens(text: str) -> str:
    """Drop the tokenizer's own tokens before and after the text, and white space with them."""
    while True:
        cut = re.sub(rf"\A\s*(?:{_SPECIAL.pattern})|(?:{_SPECIAL.pattern})\s*\Z", "", text, flags=re.IGNORECASE).strip()
        if cut == text:
            return text
        text = cut


def visible(text: str) -> str:
    """Return the characters of a text that a reader sees, without any white space."""
    return "".join(char for char in text if not _is_invisible(char))


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char)[0] in "CZ" or char in _BLANK_LETTERS


def unwrapped(text: str) -> str:
    """Return the text in a JSON object that holds one text and nothing else of an answer; else the text itself."""
    stripped = re.sub(r"\A```(?:json)?\s*|\s*```\Z", "", text.strip())
    if not stripped.startswith("{"):
        return text
    try:
        parsed = json.loads(stripped)
    except (ValueError, RecursionError):
        return text
    texts = [value for key, value in parsed.items() if isinstance(value, str) and str(key).lower() in _WRAPPER_KEYS]
    return texts[0] if len(texts) == 1 else text


def _no_answer(text: str) -> ErroredCause | None:
    said = _LOST.sub("\ufffd", _SPECIAL.sub("", unwrapped(text)))
    seen = visible(said)
    if not any(char.isalnum() for char in seen):
        return _without_a_word(seen)
    # A character cut at the end leaves up to three of them.
    whole = re.sub(r"\ufffd{1,3}\Z", "", seen)
    if whole.count("\ufffd") >= LOST_SHARE * len(whole) or is_babble(said):
        return "Babble"
    return None


def _without_a_word(seen: str) -> ErroredCause | None:
    """Signs can answer ("=", a thumb up), marks cannot; a run of either is babble."""
    marks = sum(_is_mark(char) for char in seen)
    if marks == len(seen):
        return "Babble" if len(seen) >= RUN_OF_MARKS else "NoAnswer"
    is_run = len(set(seen)) == 1 and unicodedata.category(seen[0]) != "So" and len(seen) >= RUN_OF_MARKS
    if is_run or (len(seen) >= 2 * RUN_OF_MARKS and (len(set(seen)) <= 2 or 2 * marks >= len(seen))):
        return "Babble"
    return None


def _is_mark(char: str) -> bool:
    """Whether a character says nothing by itself: punctuation, accents, signs of layout; not a letter or emoji."""
    category = unicodedata.category(char)
    return category[0] in "PM" or category == "Sk" or char in "|~\ufffd"


def is_babble(text: str) -> bool:
    """Whether a text is a run or a loop with nothing said besides.

    >>> is_babble("the the the the the the the the the the")
    True
    >>> is_babble("Row, row, row your boat, gently down the stream.")
    False
    """
    body = unicodedata.normalize("NFKC", _RULED_LINE.sub("", text)).casefold()
    return _is_run(body) or _is_loop(words(body)) or _is_few_words(body)


def _is_run(body: str) -> bool:
    """Whether one mark, or one letter or syllable inside a word, makes up most of a text."""
    seen = visible(body)
    marks = re.finditer(r"([\W_]{1,12}?)\1{3,}", seen)
    syllables = (match for word in body.split() for match in re.finditer(r"(\w{1,12}?)\1{3,}", word))
    for match in (*marks, *syllables):
        unit, length = match.group(1), len(match.group())
        rules = unit.isdecimal() or all(char in "-=_*~#." for char in unit)
        if length // len(unit) >= (RULER_REPEATS if rules else LETTER_REPEATS) and 4 * length >= 3 * len(seen):
            return True
    return False


def _is_loop(tokens: Sequence[str]) -> bool:
    """Whether a phrase comes over and over, with too little besides it to be read."""
    for period in range(1, min(SAID_BEFORE_LOOP, len(tokens) // LOOP_REPEATS) + 1):
        start, end = _longest_stretch(tokens, period)
        least = NUMBER_REPEATS if all(token.isdecimal() for token in tokens[start : start + period]) else LOOP_REPEATS
        said = len(tokens) - (end - start) + period
        if (end - start) // period >= least and said < SAID_BEFORE_LOOP:
            return True
    return False


def _longest_stretch(tokens: Sequence[str], period: int) -> tuple[int, int]:
    """The longest part of the tokens in which each equals the one `period` before it."""
    best, start = (0, 0), 0
    for index in range(period, len(tokens) + 1):
        if index == len(tokens) or tokens[index] != tokens[index - period]:
            best = max(best, (start, index), key=lambda part: part[1] - part[0])
            start = index - period + 1
    return best


def _is_few_words(body: str) -> bool:
    """Whether a few words come in no fixed order. Sentences and lines are each taken once: a refrain is no babble."""
    parts = dict.fromkeys(part.strip() for part in re.split(r"(?<=[.!?:])\s+|\n+", body))
    tokens = [token for part in parts for token in words(part)][:FEW_WORDS_WINDOW]
    spaced = [token for token in tokens if not token.isdecimal() and not is_unspaced(token[0])]
    if 2 * len(spaced) < len(tokens) or 2 * len(re.findall(r"[,;|\n]", body)) >= len(tokens):
        return False  # figures, a script without spaces, or items of a list
    return len(tokens) >= FEW_WORDS_LEAST and len(set(tokens)) <= FEW_WORDS_SHARE * len(tokens)
