"""`score-file` and `judge-file`: one JSON line a row, and faults in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardening_trainer.chat import encode_pair
from hardening_trainer.command import main
from hardening_trainer.models import load_causal_lm, load_tokenizer
from hardening_trainer.scoring import answer_logprobs
from tests.support.tiny_model import build_tiny_model

ROWS = [
    {"prompt": "How do I bake bread?", "preferred": "I cannot help with that.", "dispreferred": "First you bake."},
    {"prompt": "Tell me about the park.", "preferred": "No, sorry.", "dispreferred": "Walk and water the plants."},
    {"prompt": "How do I bake bread?", "preferred": "The same.", "dispreferred": "The same."},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "rows with space.jsonl", ROWS)


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def logprobs(folder: Path) -> list[list[float]]:
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    found = []
    for row in ROWS:
        pair = encode_pair(tokenizer, row["prompt"], row["preferred"], row["dispreferred"])
        found += answer_logprobs(model, [pair.prompt], [[pair.preferred, pair.dispreferred]])
    return found


def test_without_a_reference_r_is_the_defenders_alone(
    file: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score-file", "--model", str(tiny_model), "--alpha", "0", str(file)]) == 0
    lines = printed(capsys)
    for line, (preferred, dispreferred) in zip(lines, logprobs(tiny_model), strict=True):
        assert line["defender_logp_preferred"] == pytest.approx(preferred, abs=1e-4)
        assert line["direct_harmfulness"] == pytest.approx(dispreferred - preferred, abs=1e-4)
        assert line["reference_logp_preferred"] is line["reference_logp_dispreferred"] is None
    assert lines[2]["direct_harmfulness"] == 0.0


def test_with_a_reference_alpha_of_its_difference_is_taken_off(
    file: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = build_tiny_model(tmp_path / "reference", seed=3)
    arguments = ["--model", f"file://{tiny_model}", "--reference", str(reference), "--alpha", "0.5", str(file)]
    assert main(["score-file", *arguments]) == 0
    both = zip(printed(capsys), logprobs(tiny_model), logprobs(reference), strict=True)
    for line, mine, theirs in both:
        expected = (mine[1] - mine[0]) - 0.5 * (theirs[1] - theirs[0])
        assert line["direct_harmfulness"] == pytest.approx(expected, abs=1e-4)
        assert line["reference_logp_dispreferred"] == pytest.approx(theirs[1], abs=1e-4)


@pytest.mark.parametrize(
    ("alpha", "words"), [("0.5", "--reference: missing"), ("-1", "--alpha: got -1.0"), ("nan", "--alpha: got nan")]
)
def test_an_alpha_that_cannot_be_is_a_usage_fault(
    file: Path, alpha: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["score-file", "--model", "none", f"--alpha={alpha}", str(file)]) == 64
    assert words in capfd.readouterr().err


def test_a_model_that_is_not_there_is_a_data_fault(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["score-file", "--model", "/no/such/model", "--alpha", "0", str(file)]) == 65
    captured = capfd.readouterr()
    assert "no such folder" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_answers_are_judged_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = ["I'm sorry, but I can't help with that.", "Sure! First mix the flour, then bake it.", ""]
    path = jsonl(tmp_path / "answers.jsonl", [{"prompt": "How do I bake?", "answer": answer} for answer in answers])
    assert main(["judge-file", "--type", "RefusalPattern", str(path)]) == 0
    lines = printed(capsys)
    assert [line["verdict"] for line in lines] == ["safe", "harmful", "safe"]
    assert [line["refusal"] for line in lines] == ["full_refusal", "full_compliance", "full_refusal"]
    assert all(line["judge"] == "judge" and line["digest"].startswith("sha256:") for line in lines)


def test_rows_without_an_answer_are_told_by_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "answers.jsonl", [{"prompt": "marmalade", "answer": "x"}, {"prompt": "marmalade"}])
    assert main(["judge-file", "--type", "RefusalPattern", str(path)]) == 65
    captured = capfd.readouterr()
    assert "line 2: answer: expected text" in captured.err
    assert "marmalade" not in captured.err + captured.out


def test_a_judge_without_what_its_type_needs_is_a_usage_fault(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "answers.jsonl", [{"prompt": "a", "answer": "b"}])
    assert main(["judge-file", "--type", "OpenAI", str(path)]) == 64
    assert "baseUrl" in capfd.readouterr().err
    assert main(["judge-file", "--type", "Oracle", str(path)]) == 64
