"""One template for asking, scoring, sampling and training, whatever its kind; one that loses text is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from hardening_api.sources import ChatTemplate, ModelSource
from hardening_trainer.errors import ModelNotUsable
from hardening_trainer.inference.chat import (
    encode_answer,
    encode_pair,
    encode_prompt,
    end_of_answer,
    end_of_open_thought,
)
from hardening_trainer.models import end_of_turn_ids, load_causal_lm, load_tokenizer
from hardening_trainer.models.chat_template import checked_template
from hardening_trainer.runtime.inputs import model_input, resolve_source
from tests.support.chat_templates import TEMPLATES
from tests.support.tiny_model import END, build_spaced_tokenizer, build_tiny_model

PROMPT = "how do I bake bread?"
PREFERRED, DISPREFERRED = "First you knead.", "Sorry, I cannot help with that."
SYSTEM = 'Answer "kindly".\nIn 数学 🙂 and {% never %} code.'


def folder_with(tmp_path: Path, template: str) -> Path:
    folder = build_tiny_model(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture(params=TEMPLATES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return folder_with(tmp_path, TEMPLATES[request.param])


@pytest.mark.parametrize("answer", [PREFERRED, "  Spaces first.", "\nno", "<b>bold</b>", "<t", "</think>", "数学 🙂"])
def test_a_pair_is_trained_on_the_prompt_that_is_asked(folder: Path, answer: str) -> None:
    tokenizer = load_tokenizer(folder)
    pair = encode_pair(tokenizer, PROMPT, answer, DISPREFERRED)
    assert pair.prompt == encode_prompt(tokenizer, PROMPT)
    for ids, text in ((pair.preferred, answer), (pair.dispreferred, DISPREFERRED)):
        assert text.split("</think>")[-1].strip() in text_of(tokenizer, pair.prompt + ids)
        assert ids == encode_answer(tokenizer, text, PROMPT)
        assert PROMPT not in text_of(tokenizer, ids)


@pytest.mark.parametrize("prepend_scheme", ["first", "never"])
@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_tokenizer_that_puts_spaces_before_words_puts_none_between_prompt_and_answer(
    kind: str, prepend_scheme: str
) -> None:
    tokenizer = build_spaced_tokenizer(prepend_scheme)
    tokenizer.chat_template = TEMPLATES[kind]
    tokenizer.chat_template = checked_template(tokenizer, kind)
    pair = encode_pair(tokenizer, PROMPT, PREFERRED, DISPREFERRED)
    assert pair.prompt == encode_prompt(tokenizer, PROMPT)
    assert f"  {PREFERRED}" not in text_of(tokenizer, pair.prompt + pair.preferred)
    assert PREFERRED in text_of(tokenizer, pair.prompt + pair.preferred)


def test_an_answer_ends_as_the_template_ends_it(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    answer = text_of(tokenizer, encode_answer(tokenizer, PREFERRED)).rstrip()
    assert answer.endswith(PREFERRED if end_of_answer(tokenizer) is None else END)


def test_an_answer_to_an_opened_thought_closes_it_first(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder_with(tmp_path, TEMPLATES["opens a thought"]))
    pair = encode_pair(tokenizer, PROMPT, PREFERRED, "<think>\nknead or rest?\n</think>\n\nRest.")
    assert text_of(tokenizer, pair.prompt).endswith("<|im_start|>assistant\n<think>\n")
    assert text_of(tokenizer, pair.preferred) == f"</think>\n\n{PREFERRED}<|im_end|>\n"
    assert text_of(tokenizer, pair.dispreferred) == "knead or rest?\n</think>\n\nRest.<|im_end|>\n"
    assert end_of_open_thought(tokenizer) == "</think>"


@pytest.mark.parametrize("kind", [kind for kind in TEMPLATES if "thought" not in kind])
def test_other_templates_open_no_thought(tmp_path: Path, kind: str) -> None:
    assert end_of_open_thought(load_tokenizer(folder_with(tmp_path, TEMPLATES[kind]))) is None


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"), ("<reasoning>", "</reasoning>")],
)
def test_a_thought_is_known_by_any_customary_tag(tmp_path: Path, opening: str, closing: str) -> None:
    template = TEMPLATES["opens a thought"].replace("<think>", opening)
    assert end_of_open_thought(load_tokenizer(folder_with(tmp_path, template))) == closing
    closed = TEMPLATES["opens a thought"].replace("<think>", f"{opening}{closing}")
    assert end_of_open_thought(load_tokenizer(folder_with(tmp_path / "closed", closed))) is None


def test_a_template_that_reads_typed_parts_is_given_them(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder_with(tmp_path, TEMPLATES["typed parts only"]))
    assert text_of(tokenizer, encode_prompt(tokenizer, PROMPT)) == (
        f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    )
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = load_tokenizer(tmp_path / "saved")
    assert encode_prompt(saved, PROMPT) == encode_prompt(tokenizer, PROMPT)


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{% for turn in messages %}<{{ turn.role }}>{% endfor %}", "leave out text"),
        ("{{ messages[0].content }}", "leave out text"),
        ("{% for turn in messages if turn.role != 'user' %}{{ turn.content }}{% endfor %}", "leave out text"),
        ("{% for turn in messages %}{{ turn.words }}{% endfor %}", "leave out text"),
        ("{{ raise_exception('only with tools') }}", "only with tools"),
        ("{% for turn in messages %}{{ turn.content", "TemplateSyntaxError"),
        ("{{ messages[7].content.strip() }}", "UndefinedError"),
    ],
)
def test_a_template_that_loses_text_is_refused_by_name(tmp_path: Path, template: str, found: str) -> None:
    folder = folder_with(tmp_path, template)
    with pytest.raises(ModelNotUsable, match=found) as caught:
        load_tokenizer(folder)
    assert str(folder) in caught.value.message


def test_the_templates_own_end_of_turn_stops_an_answer(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, TEMPLATES["turns"].replace("<|im_end|>", "<|endoftext|>"))
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert end_of_turn_ids(model, tokenizer) == sorted(ends)


def test_a_template_without_an_end_of_turn_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_with(tmp_path, TEMPLATES["no end of turn"])
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    with caplog.at_level(logging.WARNING):
        assert end_of_turn_ids(model, tokenizer) == [tokenizer.eos_token_id]
    assert "no token of its own" in caplog.text


def settled(folder: Path, tmp_path: Path, settings: ChatTemplate) -> Path:
    source = ModelSource(uri=folder.as_uri(), chat_template=settings)
    return resolve_source(source, {"HARDENING_CACHE_DIR": str(tmp_path / "cache")}).path


def test_an_argument_of_the_spec_is_given_wherever_the_template_is_used(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, TEMPLATES["empty thoughts"])
    tokenizer = load_tokenizer(settled(folder, tmp_path, ChatTemplate(arguments={"enable_thinking": False})))
    pair = encode_pair(tokenizer, PROMPT, PREFERRED, DISPREFERRED)
    assert text_of(tokenizer, pair.prompt).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert text_of(tokenizer, pair.preferred) == f"{PREFERRED}<|im_end|>\n"
    asked = tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}], tokenize=False, enable_thinking=True)
    assert "<think>" not in str(asked)  # a caller's own argument goes before the spec's


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_system_prompt_is_in_every_conversation_and_is_kept_by_what_is_trained(tmp_path: Path, kind: str) -> None:
    folder = folder_with(tmp_path, TEMPLATES[kind])
    load_tokenizer(settled(folder, tmp_path, ChatTemplate(system_prompt=SYSTEM))).save_pretrained(tmp_path / "trained")
    tokenizer = load_tokenizer(tmp_path / "trained")
    pair = encode_pair(tokenizer, PROMPT, PREFERRED, DISPREFERRED)
    text = text_of(tokenizer, pair.prompt)
    assert text.count(SYSTEM) == 1
    assert text.index(SYSTEM) < text.index(PROMPT)
    assert pair.prompt == encode_prompt(tokenizer, PROMPT)
    assert SYSTEM not in text_of(tokenizer, pair.preferred)


def test_settings_make_another_model_of_the_same_weights(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, TEMPLATES["turns"])
    environ = {"HARDENING_CACHE_DIR": str(tmp_path / "cache")}
    plain, kind, stern = (
        ModelSource(uri=folder.as_uri(), chat_template=settings)
        for settings in (None, ChatTemplate(system_prompt="Be kind."), ChatTemplate(system_prompt="Be stern."))
    )
    assert len({resolve_source(source, environ).digest for source in (plain, kind, stern)}) == 3
    assert len({model_input(source) for source in (plain, kind, stern)}) == 3
    assert resolve_source(kind, environ) == resolve_source(kind, environ)
    load_causal_lm(resolve_source(kind, environ).path)


def test_an_argument_the_template_does_not_read_is_refused_with_those_it_reads(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, TEMPLATES["empty thoughts"])
    with pytest.raises(ModelNotUsable, match=r"arguments: got thinking: .* it reads enable_thinking$"):
        settled(folder, tmp_path, ChatTemplate(arguments={"thinking": False}))


def test_a_system_prompt_that_cannot_be_rendered_is_refused(tmp_path: Path) -> None:
    shouting = "{% for turn in messages %}{{ turn.role }}: {{ turn.content[-40:] }}<|im_end|>{% endfor %}"
    folder = folder_with(tmp_path, shouting)
    with pytest.raises(ModelNotUsable, match=r"chatTemplate\.systemPrompt"):
        settled(folder, tmp_path, ChatTemplate(system_prompt="Answer kindly, in one sentence, without any lists."))


def text_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))
