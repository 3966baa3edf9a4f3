from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from hardening_trainer.inference.chat import encode_answer, encode_pair, encode_prompt


def test_a_prompt_is_one_user_turn_opened_for_an_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    text = tokenizer.decode(encode_prompt(tokenizer, "tell me"))
    assert text == "<|im_start|>user\ntell me<|im_end|>\n<|im_start|>assistant\n"


def test_an_answer_ends_as_the_template_ends_it(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.decode(encode_answer(tokenizer, "sorry, no")) == "sorry, no<|im_end|>\n"


@pytest.mark.parametrize("answer", ["sorry, no", "", "yes\n\n", "¿qué? 数学 🙂"])
def test_prompt_and_answer_make_the_whole_conversation(tokenizer: PreTrainedTokenizerBase, answer: str) -> None:
    turns = [{"role": "user", "content": "tell me"}, {"role": "assistant", "content": answer}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert encode_prompt(tokenizer, "tell me") + encode_answer(tokenizer, answer) == whole


def test_a_pair_that_starts_plainly_is_its_prompt_and_answers(tokenizer: PreTrainedTokenizerBase) -> None:
    pair = encode_pair(tokenizer, "tell me", "sorry, no", "yes")
    assert pair.prompt == encode_prompt(tokenizer, "tell me")
    assert pair.preferred == encode_answer(tokenizer, "sorry, no")
    assert pair.dispreferred == encode_answer(tokenizer, "yes")


def test_an_answer_that_would_merge_with_the_prompt_starts_a_token_of_its_own(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer = _merging(tokenizer)
    pair = encode_pair(tokenizer, "tell me", "\nno", "yes")
    assert pair.prompt == encode_prompt(tokenizer, "tell me")
    assert pair.preferred == encode_answer(tokenizer, "\nno")
    assert str(tokenizer.decode(pair.prompt + pair.preferred)).endswith("assistant\n\nno<|im_end|>\n")
    assert str(tokenizer.decode(pair.prompt + pair.dispreferred)).endswith("assistant\nyes<|im_end|>\n")


def _merging(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy that has a token of its own for two newlines."""
    from copy import deepcopy

    copy = deepcopy(tokenizer)
    copy.add_tokens(["\n\n"])
    return copy
