"""A model's chat template, checked at load and adapted to what it is asked to do.

An adapted template is the model's own with a few statements before it, so that whoever renders it, here or on a
server, gets the same text: typed content parts where it reads only those, arguments, a system prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
import jinja2.meta
from transformers import PreTrainedTokenizerBase

from hardening_api.sources import RESERVED_ARGUMENTS, ChatTemplate
from hardening_trainer.errors import ModelNotUsable

Message = dict[str, Any]

_TYPED_PARTS = (
    "{%- set typed = namespace(messages=[]) -%}"
    "{%- for message in messages -%}"
    "{%- if message['content'] is string -%}"
    "{%- set part = {'type': 'text', 'text': message['content']} -%}"
    "{%- set typed.messages = typed.messages + [{'role': message['role'], 'content': [part]}] -%}"
    "{%- else -%}{%- set typed.messages = typed.messages + [message] -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- set messages = typed.messages -%}"
)
_ARGUMENT = "{{%- if {name} is not defined -%}}{{%- set {name} = {value} -%}}{{%- endif -%}}"
_SYSTEM = (
    "{{%- if messages and messages[0]['role'] != 'system' -%}}"
    "{{%- set messages = [{{'role': 'system', 'content': {text}}}] + messages -%}}"
    "{{%- endif -%}}"
)
_FOLDED_SYSTEM = (
    "{{%- if messages and messages[0]['role'] == 'user' and messages[0]['content'] is string -%}}"
    "{{%- set opening = {{'role': 'user', 'content': {text} + '\n\n' + messages[0]['content']}} -%}}"
    "{{%- set messages = [opening] + messages[1:] -%}}"
    "{{%- endif -%}}"
)
_NOT_ARGUMENTS = {*RESERVED_ARGUMENTS, "raise_exception", "strftime_now", "part", "opening"}
_CONVERSATIONS = (
    ("How long does bread bake?", "About forty minutes."),
    ("Which river flows through Vienna?", "The Danube does."),
)
"""Two that share no sentence."""


def checked_template(tokenizer: PreTrainedTokenizerBase, model: object) -> str:
    """Return the template to use, which is the tokenizer's own or that with typed content parts.

    With it two different conversations give different token ids, which decode to hold their text. Raises
    ModelNotUsable, naming `model`, where neither does.
    """
    own = _template(tokenizer)
    faults = []
    for template in (own, _TYPED_PARTS + own):
        fault = _fault(tokenizer, template)
        if fault is None:
            return template
        faults.append(fault)
    advice = "expected messages of text, or of typed parts, in what it renders: fix chat_template.jinja"
    raise ModelNotUsable(model, f"its chat template cannot be used ({faults[0]})", advice)


def with_settings(tokenizer: PreTrainedTokenizerBase, settings: ChatTemplate, model: object) -> str:
    """Return the tokenizer's template, checked before, with arguments and a system prompt of the spec.

    Raises ModelNotUsable for an argument that the template does not read, or a system prompt that it leaves out.
    """
    template = _template(tokenizer)
    read = jinja2.meta.find_undeclared_variables(_environment().parse(template)) - _NOT_ARGUMENTS
    for name, value in settings.arguments.items():
        if name not in read:
            found = f"chatTemplate.arguments: got {name}: its template reads no such variable"
            raise ModelNotUsable(model, found, f"it reads {', '.join(sorted(read)[:12]) or 'none'}")
        template = _ARGUMENT.format(name=name, value=_literal(value)) + template
    fault = _fault(tokenizer, template)
    if fault is not None:
        raise ModelNotUsable(model, f"chatTemplate.arguments: {fault}", "choose arguments its template can work with")
    if settings.system_prompt is None:
        return template
    text = _literal(settings.system_prompt)
    for opening in (_SYSTEM, _FOLDED_SYSTEM):
        whole = opening.format(text=text) + template
        if _fault(tokenizer, whole, settings.system_prompt) is None:
            return whole
    found = "chatTemplate.systemPrompt: its template renders it neither as a system message nor in the first user turn"
    raise ModelNotUsable(model, found, "leave it out, or fix chat_template.jinja")


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.get_chat_template())


def _environment() -> jinja2.Environment:
    """An environment that parses what transformers' own does; nothing is rendered in it."""
    from jinja2.ext import loopcontrols  # noqa: PLC0415  # used here alone

    class Generation(jinja2.ext.Extension):
        """`{% generation %}`, which marks the assistant's tokens."""

        tags = {"generation"}  # noqa: RUF012  # jinja2's protocol

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return jinja2.Environment(extensions=[loopcontrols, Generation], autoescape=False)  # noqa: S701  # chat text, no HTML


def _fault(tokenizer: PreTrainedTokenizerBase, template: str, system: str = "") -> str | None:
    """What is wrong with conversations rendered by `template`; None where they hold their text."""
    rendered = []
    for messages, texts, asked in _probes():
        try:
            encoded: Any = tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=True, return_dict=True, add_generation_prompt=asked
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else 'no words'}"
        ids = list(encoded["input_ids"])
        text = _squeezed(str(tokenizer.decode(ids)))
        if any(_squeezed(part) not in text for part in (*texts, system)):
            return "the token ids leave out text of the messages"
        rendered.append(tuple(ids))
    return None if len(set(rendered)) == len(rendered) else "two different conversations give the same token ids"


def _probes() -> Iterator[tuple[list[Message], Sequence[str], bool]]:
    """(messages, texts they hold, whether an answer is opened)."""
    for question, answer in _CONVERSATIONS:
        asked = [{"role": "user", "content": question}]
        yield asked, [question], True
        yield [*asked, {"role": "assistant", "content": answer}], [question, answer], False


def _squeezed(text: str) -> str:
    """Text without what tokenizers may change: case and white space."""
    return "".join(text.split()).casefold()


def _literal(value: bool | float | str) -> str:
    """The value as Jinja writes it."""
    return json.dumps(value, ensure_ascii=False)
