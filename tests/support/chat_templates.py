"""Chat templates of the kinds that public models have, each reduced to what makes it a kind of its own."""

from __future__ import annotations

TEMPLATES = {
    "turns": (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    # text only inside typed parts: a plain string is looped over letter by letter, and none is a part
    "typed parts only": (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}\n"
        "{% for part in turn.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    # an empty thought before every past answer, and before the next one where thinking is turned off
    "empty thoughts": (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}\n"
        "{% if turn.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ turn.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
    ),
    # the next answer begins inside a thought, past ones have none
    "opens a thought": (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    ),
    # past answers lose what they thought
    "forgets thoughts": (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}\n"
        "{{ turn.content.split('</think>')[-1] | trim }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    ),
    # no system role, and an answer is asked of another role than past answers are of
    "no system role": (
        "{% for turn in messages %}{% if turn.role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}<|im_start|>{{ turn.role }}\n{{ turn.content | trim }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
    ),
    # a system message disappears
    "drops the system message": (
        "{% for turn in messages if turn.role != 'system' %}[{{ turn.role }}] {{ turn.content }} <|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
    ),
    "no end of turn": (
        "{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    ),
    # a channel is named in past answers only
    "channels": (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}{% if turn.role == 'assistant' %}<final>{% endif %}"
        "\n{{ turn.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
    ),
}
