"""`RefusalPattern` against people, on the held-out half of XSTest's labelled answers."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from hardening_trainer.judges.refusal_pattern import RefusalPattern

ROOT = Path(__file__).resolve().parents[3]
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "judge_agreement.py"))
HELD_OUT = ROOT.parent / "shared" / "data" / "xstest" / "mistralinstruct.csv"


@pytest.mark.skipif(not HELD_OUT.exists(), reason="XSTest is not in ../shared/data/xstest beside the checkout")
@pytest.mark.parametrize("num_words", [None, 30])
@pytest.mark.parametrize("classes", ["three classes", "two classes"])
def test_the_judge_agrees_with_people_better_than_a_plain_match(num_words: int | None, classes: str) -> None:
    results = BENCHMARK["measure"](HELD_OUT, num_words)
    judge, prefix, phrase = (results[name][classes] for name in ("RefusalPattern", "prefix match", "phrase match"))
    assert judge["n"] == 450
    assert judge["kappa"] > max(prefix["kappa"], phrase["kappa"])


def test_kappa_is_that_of_scikit_learn() -> None:
    labels, predictions = list("aabbbcabca"), list("abbbbcaacc")
    table = np.zeros((3, 3))
    for a, b in zip(labels, predictions, strict=True):
        table["abc".index(a), "abc".index(b)] += 1
    assert BENCHMARK["kappa"](table) == pytest.approx(cohen_kappa_score(labels, predictions))


def test_a_cut_answer_keeps_its_layout() -> None:
    assert BENCHMARK["cut"]("1. One\n2. Two three", 4) == "1. One\n2. Two "
    assert BENCHMARK["cut"]("one two", 4) == "one two"


def test_the_committed_figures_are_of_the_rules_as_they_are() -> None:
    document = json.loads((ROOT / "benchmarks" / "results" / "judge_agreement.json").read_text(encoding="utf-8"))
    assert document["judge"] == RefusalPattern().digest, "run benchmarks/judge_agreement.py again"
