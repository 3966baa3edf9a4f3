"""Text to tokens, through the model's own chat template and nothing else.

A prompt is the template with its generation prompt, token for token what the model is asked by; an answer is what the
whole conversation adds to it, with its end-of-turn token and whatever the template writes after it (ChatML's closing
newline is scored and trained on too). For most templates that is the split TRL's DPOTrainer makes. Where the whole
conversation does not begin with the prompt's tokens, the prompt stays as it is asked and the answer follows it:

    the prompt opens a thought (`<think>`)      the answer closes it, empty, and then says its text
    the answer's first token would merge        the answer starts a token of its own
    the conversation names another role         the answer's text and end follow the role that is asked
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

from hardening_trainer.errors import ModelNotUsable

_QUESTION, _ANSWER = "Which river flows through Vienna?", "Danube"
_OPENS_THOUGHT = re.compile(r"[<\[][^<>\[\]/]*(?:think|thought|reason)[^<>\[\]/]*[>\]]", re.IGNORECASE)


@dataclass(frozen=True)
class EncodedPair:
    """One preference row as token ids; its sequences are `prompt + preferred` and `prompt + dispreferred`."""

    prompt: list[int]
    preferred: list[int]
    dispreferred: list[int]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of one user turn and the opening of the assistant's, ready to be answered."""
    return _ids(tokenizer, [_user(prompt)], asked=True)


def encode_answer(tokenizer: PreTrainedTokenizerBase, answer: str, prompt: str = _QUESTION) -> list[int]:
    """Token ids that follow a prompt for this answer: text, end of turn, and what the template writes after it.

    Raises ModelNotUsable where the template renders an answered prompt as something else than an asked one.
    """
    return _answer_ids(tokenizer, encode_prompt(tokenizer, prompt), prompt, answer)


def encode_pair(tokenizer: PreTrainedTokenizerBase, prompt: str, preferred: str, dispreferred: str) -> EncodedPair:
    """Token ids of a preference row; its prompt is `encode_prompt`'s. Raises as `encode_answer` does."""
    asked = encode_prompt(tokenizer, prompt)
    answers = [_answer_ids(tokenizer, asked, prompt, answer) for answer in (preferred, dispreferred)]
    return EncodedPair(asked, *answers)


def _answer_ids(tokenizer: PreTrainedTokenizerBase, asked: list[int], prompt: str, answer: str) -> list[int]:
    whole = _ids(tokenizer, [_user(prompt), _assistant(answer)])
    if whole[: len(asked)] == asked:
        return whole[len(asked) :]
    return _following(tokenizer, asked, _answer_text(tokenizer, prompt, answer))


def end_of_answer(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token with which the template ends an answer; None where it writes none, or only plain text."""
    whole = _text(tokenizer, [_user(_QUESTION), _assistant(_ANSWER)])
    after = whole[whole.rindex(_ANSWER) + len(_ANSWER) :] if _ANSWER in whole else ""
    added = {*tokenizer.get_added_vocab().values(), *tokenizer.all_special_ids}
    ids = tokenizer.encode(after.lstrip(), add_special_tokens=False) if after.strip() else []
    return ids[0] if ids and ids[0] in added else None


def end_of_open_thought(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The tag that ends the thought which the generation prompt opens; None where it opens none.

    What such a model writes begins inside its thought: the opening tag is in the prompt, not in the answer.
    """
    asked = _text(tokenizer, [_user(_QUESTION)], asked=True)
    opening = asked[asked.rindex(_QUESTION) + len(_QUESTION) :] if _QUESTION in asked else asked
    tags = _OPENS_THOUGHT.findall(opening)
    if not tags:
        return None
    closing = f"{tags[-1][0]}/{tags[-1][1:]}"
    return None if closing in opening[opening.rindex(tags[-1]) :] else closing


def common_prefix_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many leading tokens, or characters, two sequences share."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _answer_text(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> str:
    """What follows the asked prompt for this answer, as text."""
    asked = _text(tokenizer, [_user(prompt)], asked=True)
    whole = _text(tokenizer, [_user(prompt), _assistant(answer)])
    if whole.startswith(asked):
        return whole[len(asked) :]
    beyond, before = _seam(tokenizer)
    shared = len(asked) - beyond
    if asked[:shared] != whole[:shared]:
        found = "its chat template renders a prompt that is answered otherwise than one that is asked"
        raise ModelNotUsable(tokenizer.name_or_path, found, "fix chat_template.jinja")
    closing = end_of_open_thought(tokenizer)
    return (f"{closing}\n\n" if closing else "") + whole[shared + before :]


def _seam(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Where a prompt and its answered form part: characters the one has beyond it, and the other before the answer."""
    asked = _text(tokenizer, [_user(_QUESTION)], asked=True)
    whole = _text(tokenizer, [_user(_QUESTION), _assistant(_ANSWER)])
    opened = whole[: whole.rindex(_ANSWER)] if _ANSWER in whole else whole
    shared = common_prefix_length(asked, opened)
    return len(asked) - shared, len(opened) - shared


def _following(tokenizer: PreTrainedTokenizerBase, asked: list[int], text: str) -> list[int]:
    """Token ids of `text` after `asked`, the first of them a token of its own.

    Some tokenizers put a space before what they are given; there the text is read behind what it does not merge with.
    """
    alone: list[int] = list(tokenizer.encode(text, add_special_tokens=False))
    wanted = str(tokenizer.decode(asked)) + text
    candidates = [alone]
    for anchor in (str(tokenizer.decode(asked[-1:])), "\n", ":"):
        before = list(tokenizer.encode(anchor, add_special_tokens=False))
        both = list(tokenizer.encode(anchor + text, add_special_tokens=False))
        if both[: len(before)] == before:
            candidates.append(both[len(before) :])
    return next((ids for ids in candidates if str(tokenizer.decode(asked + ids)) == wanted), alone)


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _ids(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], asked: bool = False) -> list[int]:
    encoded: Any = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, add_generation_prompt=asked)
    return list(encoded["input_ids"])


def _text(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], asked: bool = False) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked))
