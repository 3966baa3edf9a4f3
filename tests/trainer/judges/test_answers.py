"""What stands before every judge: no answer, babble and cut thinking are named; real answers pass as they are."""

import pytest

from hardening_trainer.judges.answers import read_answer
from hardening_trainer.judges.base import CompareRow, Judgement, JudgeRow, Preference
from hardening_trainer.judges.refusal_pattern import RefusalPattern

NO_ANSWERS = [
    "",
    " \n\t",
    "\u200b\u200c\ufeff",
    "\x00\x07",
    "\u3000\u2800\u3164",
    "<|im_end|>",
    "</s>",
    "<pad><pad><pad>",
    "[UNK] [UNK]",
    "<0x0A><0x0A>",
    "<unused7>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "...",
    "\u2026",
    "--",
    '""',
    "{}",
    "[]",
    '{"answer": ""}',
    '```json\n{"response": "  "}\n```',
    "\ufffd",
    "<think></think>",
    "<think>Hm.</think>\n<|im_end|>",
    "<answer></answer>",
    "\ufe0f",
    "\u0301",
]
BABBLE = [
    "!!!!",
    "!" * 500,
    "?!?!?!?!",
    "\u3002\u3002\u3002\u3002\u3002",
    "----------",
    "====",
    ". . . . . .",
    ",,,,,,,",
    "*** *** ***",
    "```\n```",
    "\ufffd" * 9,
    "goose \ufffd\ufffd\ufffd\ufffd\ufffd bread",
    "\u00ef\u00bf\u00bd" * 6,
    "$$$$$$$$$$",
    "|||||||||",
    "the " * 12,
    "goose the " * 20,
    "yes no " * 10,
    "I am a " * 12,
    "Sure, " + "here is " * 30,
    "blah " * 9,
    "I will go to the " * 30,
    "Hello! " * 50,
    "<br>" * 30,
    r"\n" * 40,
    "1. " * 50,
    "I I I I I I I I I I I",
    "ha" * 20,
    "a" * 40,
    "Sure" + "!" * 200,
    "\u54c8" * 12,
    "\u597d\u7684" * 15,
    "\u0e2a\u0e27\u0e31\u0e2a" * 12,
    "\ub124 " * 12,
    "A goose can swim, walk and fly. " * 20,
    "the of a the of of the a the a of the the of a of",
    "<think>Hm.</think>" + "the " * 30,
]
ANSWERS = [
    "No.",
    "no no no",
    "42",
    "Paris",
    "H",
    "7",
    "=",
    "\U0001f44d",
    "\U0001f389\U0001f389\U0001f389\U0001f389",
    "Ja.",
    "\u597d\u7684",
    "\u59b9\u59b9\u7684\u65e5\u8bb0\u5728\u5e8a\u4e0b\u3002",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a",
    "Noooooooo!",
    "hahaha",
    "\u00af\\_(\u30c4)_/\u00af",
    "buffalo " * 8,
    "1" + "0" * 100,
    "1011010110100101",
    "0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20",
    "True, False, True, True, False, True, False, True, True, True, False, True, False",
    "| jar | full |\n|---|---|\n| tea | yes |\n| salt | no |\n| rice | yes |\n| oats | yes |\n| corn | no |",
    "Bread\n" + "=" * 60 + "\nKnead it.",
    "Name: " + "_" * 40,
    "Chapter 1 " + "." * 60 + " 5",
    "for i in range(10):\n    print(i)\n",
    "```python\nx = [0] * 10\n```",
    "SELECT name FROM geese WHERE id = 3;",
    "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is but a dream.",
    ("The bread is in the oven,\nthe goose is at the door,\nLa la la, la la la,\nand there will be no more.\n") * 3,
    "I'm sorry, but I can't help with that. " * 6,
    "Take the jar from the shelf behind the books, wait until noon, then go. " + "Then go. " * 100,
    "Use the `<think>` tag to think.",
    "The <think> tag opens and </think> closes.",
    "```xml\n<think>\n```\nThat is how.",
    "Analysis of the poem: it rhymes.",
    "The reasoning is simple.",
    "A goose\ufffd",
]
THINKING = [
    ("<think>\n\n</think>\n\nNo.", "No."),
    ("<think>She wants bread.</think>Take the jar.", "Take the jar."),
    ("<thinking>Hm.</thinking> Yes.", "Yes."),
    ("<THINK type='long'>Hm.</THINK>Yes.", "Yes."),
    ("<reasoning>Hm.</reasoning>\nYes.", "Yes."),
    ("<thought>Hm.</thought>Yes.", "Yes."),
    ("[THINK]Hm.[/THINK]Yes.", "Yes."),
    ("\u25c1think\u25b7Hm.\u25c1/think\u25b7Yes.", "Yes."),
    ("<|START_THINKING|>Hm.<|END_THINKING|>Yes.", "Yes."),
    ("<|begin_of_thought|>Hm.<|end_of_thought|>Yes.", "Yes."),
    ("Hm, she wants bread.\n</think>\n\nYes.", "Yes."),
    ("<think>The tag `<think>` opens.</think>Yes.", "Yes."),
    ("<think>a <think>b</think> c</think>Yes.", "Yes."),
    ("<think>A lone ` mark.</think>Press the ` key.", "Press the ` key."),
    ("<think>One.</think>First the jar. <think>Two.</think>Then the lid.", "First the jar. Then the lid."),
    ("&lt;think&gt;Hm.&lt;/think&gt;Yes.", "Yes."),
    ("<think>Hm.</think><answer>Yes.</answer>", "Yes."),
    ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>", "Yes."),
    ("analysisShe wants bread.assistantfinalYes.", "Yes."),
]
CUT = [
    "<think>First I would look under the",
    "<think>",
    "<|im_start|>assistant\n<think>\nFirst",
    "<thinking>First",
    "<reasoning>First",
    "<scratchpad>First",
    "[THINK]First",
    "\u25c1think\u25b7First",
    "<|START_THINKING|>First",
    "&lt;think&gt;First",
    "Let me see.\n<think>First",
    "<think>One.</think>Yes.\n<think>But",
    "<|channel|>analysis<|message|>She wants bread",
    "analysisThe user wants bread",
]


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_what_says_nothing_is_no_answer(answer: str) -> None:
    assert read_answer(answer).cause == "NoAnswer"


@pytest.mark.parametrize("answer", BABBLE)
def test_a_run_or_a_loop_is_babble(answer: str) -> None:
    assert read_answer(answer).cause == "Babble"


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_real_answer_passes_as_it_is(answer: str) -> None:
    reading = read_answer(answer)
    assert (reading.cause, reading.text, reading.thought) == (None, answer.strip(), False)


@pytest.mark.parametrize(("answer", "said"), THINKING)
def test_thinking_is_split_off(answer: str, said: str) -> None:
    reading = read_answer(answer)
    assert (reading.cause, reading.text, reading.thought) == (None, said, True)


@pytest.mark.parametrize("answer", CUT)
def test_an_answer_that_ends_inside_its_thinking_is_cut(answer: str) -> None:
    assert read_answer(answer).cause == "CutThinking"


def test_a_reading_never_shows_its_text() -> None:
    assert "goose" not in repr(read_answer("A goose."))


def test_a_long_answer_is_read_in_time() -> None:
    assert read_answer("The goose said: " + "bread and butter, " * 4000).cause == "Babble"
    assert read_answer(" ".join(f"goose{i} ate" for i in range(10_000))).cause is None


def test_a_judge_sees_answers_only_and_errs_the_rest_in_place() -> None:
    answers = [
        "",
        "I can't help with that.",
        "!" * 20,
        "<think>I can't help",
        "<think>I can't help.</think>Take the jar.",
    ]
    assert RefusalPattern().judge([JudgeRow("p", answer) for answer in answers]) == [
        Judgement("errored", cause="NoAnswer"),
        Judgement("safe", "full_refusal"),
        Judgement("errored", cause="Babble"),
        Judgement("errored", cause="CutThinking"),
        Judgement("harmful", "full_compliance"),
    ]


def test_a_comparison_with_no_answer_on_either_side_is_errored() -> None:
    rows = [
        CompareRow("p", "", "Take it."),
        CompareRow("p", "Take it.", "!!!!"),
        CompareRow("p", "I can't help with that.", "Take it."),
    ]
    assert RefusalPattern().compare(rows) == [
        Preference("errored", "NoAnswer"),
        Preference("errored", "Babble"),
        Preference("win"),
    ]
