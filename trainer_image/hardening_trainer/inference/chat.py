"""Text to tokens, through the model's own chat template and nothing else.

The split between prompt and answer is the one TRL's DPOTrainer makes of a conversational row: the prompt is
the template with its generation prompt, the answer is all that the whole conversation adds to it. So an answer
holds its end-of-turn token and whatever the template writes after it (ChatML's closing newline is scored and
trained on too).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

_NEUTRAL_PROMPT = "Hello"


class AnswerMergesWithPromptError(ValueError):
    """An answer that begins so that its first token swallows the end of the prompt (leading white space)."""


@dataclass(frozen=True)
class EncodedPair:
    """One preference row as token ids; its sequences are `prompt + preferred` and `prompt + dispreferred`."""

    prompt: list[int]
    preferred: list[int]
    dispreferred: list[int]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of one user turn and the opening of the assistant's, ready to be answered."""
    return _render(tokenizer, [_user(prompt)], add_generation_prompt=True)


def encode_answer(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Token ids that the template adds to a prompt for this answer: text, end of turn, and what follows.

    Raises AnswerMergesWithPromptError where the answer's ids depend on the prompt before it; `encode_pair`
    handles such rows.
    """
    prompt = encode_prompt(tokenizer, _NEUTRAL_PROMPT)
    whole = _render(tokenizer, [_user(_NEUTRAL_PROMPT), _assistant(answer)])
    if whole[: len(prompt)] != prompt:
        raise AnswerMergesWithPromptError(
            "answer: its first characters merge with the end of the chat template's prompt: "
            "expected an answer that starts a token of its own: remove white space from its beginning"
        )
    return whole[len(prompt) :]


def encode_pair(tokenizer: PreTrainedTokenizerBase, prompt: str, preferred: str, dispreferred: str) -> EncodedPair:
    """Token ids of a preference row, token by token those of TRL's DPOTrainer.

    Where the template or a merge makes prompt and conversation part early, both answers start at the first
    difference and the prompt ends there.
    """
    prompt_ids = encode_prompt(tokenizer, prompt)
    wholes = [_render(tokenizer, [_user(prompt), _assistant(answer)]) for answer in (preferred, dispreferred)]
    start = min(common_prefix_length(prompt_ids, whole) for whole in wholes)
    return EncodedPair(prompt_ids[:start], wholes[0][start:], wholes[1][start:])


def common_prefix_length(first: list[int], second: list[int]) -> int:
    """How many leading tokens two sequences share."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], add_generation_prompt: bool = False
) -> list[int]:
    encoded: Any = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
    )
    return list(encoded["input_ids"])
