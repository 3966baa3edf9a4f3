"""Words of a text in any script, without a dictionary.

Scripts that put spaces between words are cut there (a word keeps its accents and vowel signs). Chinese, Japanese, Thai
and their like have none: each character is a token of its own, and what a text is about is compared by short runs of
characters. Korean has spaces, but its words end in particles: they are compared by how they begin.
"""

import re
import unicodedata
from collections.abc import Iterator

_HAN = re.compile(r"[\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile(r"[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_HIRAGANA = re.compile(r"[\u3040-\u309f]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_SOUTH_EAST_ASIAN = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1980-\u19df]")
_CHINESE_FUNCTION_WORDS = frozenset(
    "的了吗呢吧啊着过地得和与及或而但因为所以如果就也都还很太更最不没无是在有个一这那哪些么什怎样何如谁几多"
    "请我你您他她它们把被让给对从到向于之其可能会要想"
    "這那麼嗎個樣過說與為因無沒給對從還"
)
_KOREAN_LIST = (
    "어떻게 어떤 무엇 무엇을 뭐 왜 누가 누구 언제 어디 해야 하나요 하나 하는 하면 할 합니까 있는 있나요 되나요 "
    "수 것 그 이 저 나 내 제 좀 주세요 너 당신 우리"
)
_KOREAN_FUNCTION_WORDS = frozenset(_KOREAN_LIST.split())
MARKS_SHARE = {"han": 0.5, "kana": 0.35, "south east asian": 0.25}
"""About how much of a word one character is."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; of a script without spaces, its characters.

    >>> words("L'été, 日记")
    ["l'été", '日', '记']
    """
    found: list[str] = []
    joined = False
    text = unicodedata.normalize("NFC", text.lower().replace("\u2019", "'"))
    for place, char in enumerate(text):
        kind = unicodedata.category(char)[0]
        if kind == "M" and found and joined:
            found[-1] += char
        elif kind in "LN":
            if joined and not is_unspaced(char) and not is_unspaced(found[-1][-1]):
                found[-1] += char
            else:
                found.append(char)
            joined = True
        elif char == "'" and joined and _inside_a_word(text, place):
            found[-1] += char
        else:
            joined = char in "\u200c\u200d" and joined
    return found


def _inside_a_word(text: str, place: int) -> bool:
    return place + 1 < len(text) and text[place + 1].isalnum() and not is_unspaced(text[place + 1])


def is_unspaced(char: str) -> bool:
    """Whether a character belongs to a script that puts no spaces between words."""
    return bool(_HAN.match(char) or _KANA.match(char) or _SOUTH_EAST_ASIAN.match(char))


def length_in_words(tokens: list[str]) -> float:
    """Return about how many words tokens make up."""
    return sum(_share(token[0]) for token in tokens)


def _share(char: str) -> float:
    if _HAN.match(char):
        return MARKS_SHARE["han"]
    if _KANA.match(char):
        return MARKS_SHARE["kana"]
    return MARKS_SHARE["south east asian"] if _SOUTH_EAST_ASIAN.match(char) else 1.0


def pieces(text: str) -> Iterator[str]:
    """Yield what stands for meaning in the parts of a text whose words spaces do not show.

    Han and katakana between function words by pairs of characters, Thai and its like by threes, a Korean word by the
    two syllables it begins with.
    """
    runs: list[list[str]] = [[]]
    for token in [*words(text), ""]:
        if token and is_unspaced(token) and not (_HIRAGANA.match(token) or token in _CHINESE_FUNCTION_WORDS):
            runs[-1].append(token)
            continue
        if token and _HANGUL.match(token) and token not in _KOREAN_FUNCTION_WORDS:
            yield token[:2]
        runs.append([])
    for run in runs:
        size = 3 if run and _SOUTH_EAST_ASIAN.match(run[0]) else 2
        if len(run) < size and run:
            yield "".join(run)
        for start in range(len(run) - size + 1):
            yield "".join(run[start : start + size])
