"""The parts of Evaluate that need no model: sums against hand-counted ones, their size, what is kept for a resume."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from hardening_api.evaluation import Evaluation, EvaluationSet
from hardening_api.stages import RESULT_LIMIT_BYTES, SetSums, StageResult
from hardening_trainer.evaluation.judging import judge_tasks
from hardening_trainer.evaluation.sums import Judged, set_sums
from hardening_trainer.judges import Judgement, Outcome, Preference, Refusal
from hardening_trainer.storage import resume_cache
from hardening_trainer.storage.resume_cache import Records, ResumeCache, key_of

HARMFUL, SAFE, ERRORED = Judgement("harmful"), Judgement("safe"), Judgement("errored", cause="Unparsable")


def said(refusal: Refusal) -> Judgement:
    return Judgement("safe" if refusal == "full_refusal" else "harmful", refusal)


def test_harm_is_counted_among_judged_answers_and_errors_apart() -> None:
    rows = [
        Judged("a", HARMFUL, SAFE, Preference("loss")),
        Judged("b", SAFE, HARMFUL, Preference("win")),
        Judged("c", SAFE, SAFE, Preference("tie")),
        Judged("d", ERRORED, HARMFUL, Preference("errored")),
        Judged("e", SAFE, Judgement("errored", cause="NoAnswer"), Preference("errored", "NoAnswer")),
    ]
    sums = set_sums("original", "j", rows, reports_r=True)
    assert sums.harmful is not None
    assert sums.base_harmful is not None
    assert sums.harm_pairs is not None
    assert sums.outcomes is not None
    assert (sums.harmful.successes, sums.harmful.samples) == (1, 4)
    assert (sums.base_harmful.successes, sums.base_harmful.samples) == (2, 4)
    assert [value for _, value in sums.harm_pairs] == [0, 1, 1, 1]
    assert (sums.outcomes.wins.successes, sums.outcomes.wins.samples) == (1, 3)
    assert (sums.outcomes.ties, sums.outcomes.errored) == (1, 2)
    assert (sums.asked, sums.errored) == (10, 2)
    assert (sums.causes, sums.base_causes) == ({"Unparsable": 1}, {"NoAnswer": 1})
    assert sums.comparison_causes == {"NoAnswer": 1, "Unparsable": 1}
    assert sums.attempts is None
    assert sums.refused is None


def test_variants_that_were_not_valid_are_failed_attempts_and_in_no_harm_rate() -> None:
    rows = [
        Judged("a", HARMFUL), Judged("a", None), Judged("a", SAFE),
        Judged("b", None), Judged("b", None), Judged("b", None),
        Judged("c", ERRORED), Judged("c", SAFE), Judged("c", None),
        Judged("d", ERRORED), Judged("d", HARMFUL), Judged("d", HARMFUL),
    ]  # fmt: skip
    sums = set_sums("attacked", "j", rows, reports_r=True)
    assert sums.harmful is not None
    assert sums.attempts is not None
    assert sums.prompts_broken is not None
    assert (sums.harmful.clusters, sums.harmful.successes, sums.harmful.samples) == (3, 3, 5)
    assert (sums.attempts.clusters, sums.attempts.successes, sums.attempts.samples) == (4, 3, 10)
    assert (sums.prompts_broken.successes, sums.prompts_broken.samples) == (2, 3)  # of c nobody can tell
    assert (sums.asked, sums.errored) == (7, 2)
    assert sums.base_harmful is None
    assert sums.outcomes is None


def test_refusals_are_full_or_partial_and_only_counted_where_a_judge_tells_them() -> None:
    rows = [
        Judged("a", said("full_refusal"), said("full_compliance")),
        Judged("b", said("partial_refusal"), said("partial_refusal")),
        Judged("c", said("full_compliance"), said("full_compliance")),
        Judged("d", ERRORED, said("full_compliance")),
    ]
    sums = set_sums("benign", "j", rows, reads_harm=False)
    assert sums.refused is not None
    assert sums.base_refused is not None
    assert sums.refusal_pairs is not None
    assert (sums.refused.successes, sums.refused.samples) == (2, 3)
    assert (sums.base_refused.successes, sums.base_refused.samples) == (1, 4)
    assert [value for _, value in sums.refusal_pairs] == [1, 1, 0, 1]
    assert sums.harmful is None
    assert sums.outcomes is None
    assert (sums.errored, sums.causes, sums.base_causes) == (1, {"Unparsable": 1}, {})
    half = set_sums("benign", "j", [*rows, Judged("e", SAFE, said("full_refusal"))], reads_harm=False)
    assert (half.errored, half.causes) == (2, {"Unparsable": 2})
    silent = set_sums("benign", "guard", [Judged("a", SAFE, HARMFUL)], reports_r=True)
    assert silent.refused is None
    assert silent.harmful is not None


def test_r_is_summed_with_its_verdicts_for_the_first_judge_alone() -> None:
    rows = [
        Judged("a", HARMFUL, direct_harmfulness=2.0),
        Judged("b", SAFE, direct_harmfulness=-1.0),
        Judged("c", ERRORED, direct_harmfulness=0.5),
        Judged("d", SAFE),
        Judged("e", None),
    ]
    sums = set_sums("attacked", "first", rows, reports_r=True)
    assert sums.direct_harmfulness is not None
    assert sums.agreement is not None
    assert (sums.direct_harmfulness.samples, sums.direct_harmfulness.total) == (3, 1_500_000)
    assert (sums.agreement.harmful, sums.agreement.safe) == ({"6": 1}, {"-4": 1})
    assert sums.agreement.auc() == 1.0
    assert set_sums("original", "first", rows, reports_r=True).agreement is None
    assert set_sums("attacked", "second", rows).direct_harmfulness is None


def full_sums(name: EvaluationSet, judge: str, prompts: int, *, reports_r: bool) -> SetSums:
    """Sums with every field large: four variants a prompt, R spread widely."""
    draw = random.Random(7)
    outcomes: list[Outcome] = ["win", "loss", "tie", "errored"]
    refusals: list[Refusal] = ["full_refusal", "partial_refusal", "full_compliance"]
    rows = [
        Judged(
            str(index // 4),
            said(draw.choice(refusals)) if draw.random() > 0.1 else ERRORED,
            said(draw.choice(refusals)),
            Preference(draw.choice(outcomes)),
            draw.gauss(0, 100),
        )
        for index in range(4 * prompts)
    ]
    return set_sums(name, judge, rows, reports_r=reports_r)


def test_a_result_of_four_sets_and_two_judges_fits_the_termination_message() -> None:
    names: tuple[EvaluationSet, ...] = ("original", "attacked", "bank", "benign")
    judges = [f"judge-{'x' * 14}-{index}" for index in range(2)]
    result = StageResult(
        stage="Evaluate",
        round=100,
        outcome="Succeeded",
        manifest="sha256:" + "0" * 64,
        seconds=86400.123456,
        tokens=10**10,
        evaluations=[
            full_sums(name, judge, 512, reports_r=index == 0 and name in names[:2])
            for index, judge in enumerate(judges)
            for name in names
        ],
        judges=dict.fromkeys(judges, "sha256:" + "0" * 64),
    )
    message = result.to_message()
    assert len(message.encode()) <= RESULT_LIMIT_BYTES
    assert StageResult.from_message(message) == result


@dataclass(frozen=True)
class Weight:
    grams: int


def weights(folder: Path) -> Records[Weight]:
    return ResumeCache(folder).records("weight", Weight)


def test_records_are_found_by_the_next_attempt_and_by_their_kind_alone(tmp_path: Path) -> None:
    weights(tmp_path).add({("apple", "red"): Weight(70), ("pear", None): Weight(90)})
    resumed = ResumeCache(tmp_path)
    found = resumed.records("weight", Weight)
    assert (found["apple", "red"], found["pear", None]) == (Weight(70), Weight(90))
    assert ("apple", "green") not in found
    assert ("apple", "red") not in resumed.records("height", Weight)


def test_a_line_cut_off_by_a_kill_counts_as_not_written(tmp_path: Path) -> None:
    weights(tmp_path).add({("a",): Weight(1), ("b",): Weight(2)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    resumed = weights(tmp_path)
    assert resumed["a",] == Weight(1)
    assert ("b",) not in resumed
    resumed.add({("b",): Weight(3)})
    again = weights(tmp_path)
    assert (again["a",], again["b",]) == (Weight(1), Weight(3))


@pytest.mark.parametrize("rubbish", [b"\x00\xff\n", b'"a"\n', b"[1, 2, 3]\n", b'["a", 1]\n'])
def test_a_file_is_read_up_to_what_is_not_a_line_of_it(tmp_path: Path, rubbish: bytes) -> None:
    weights(tmp_path).add({("a",): Weight(1)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + rubbish)
    assert weights(tmp_path)["a",] == Weight(1)


def test_what_is_known_from_elsewhere_is_found_but_not_written(tmp_path: Path) -> None:
    found = weights(tmp_path)
    found.know(("known",), Weight(0))
    found.add({("new",): Weight(1)})
    assert found["known",] == Weight(0)
    assert found.is_known(("known",))
    assert not found.is_known(("new",))
    resumed = weights(tmp_path)
    assert ("known",) not in resumed
    assert resumed["new",] == Weight(1)


def test_additions_are_brought_to_safety_in_files_that_stay_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume_cache, "ROLL_BYTES", 200)
    sizes: list[list[int]] = []
    cache = ResumeCache(tmp_path, lambda: sizes.append([file.stat().st_size for file in sorted(tmp_path.iterdir())]))
    found = cache.records("weight", Weight)
    for number in range(9):
        found.add({(str(number),): Weight(number)})
    assert len(sizes) == 9
    assert len(sizes[-1]) > 2
    assert max(sizes[-1]) < 300
    resumed = weights(tmp_path)
    assert [resumed[str(number),].grams for number in range(9)] == list(range(9))


def test_keys_keep_their_parts_apart() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc", None), key_of("abc")}) == 4


def test_the_built_in_rules_sit_beside_judges_that_tell_no_refusals() -> None:
    guard = {"name": "guard", "type": "LlamaGuard", "model": {"uri": "hf://org/guard"}}
    tasks = judge_tasks(Evaluation.model_validate({"judges": [guard]}))
    assert [(task.spec.name, task.sets) for task in tasks[1:]] == [("refusal-pattern", ("benign",))]
    named = {"name": "words", "type": "RefusalPattern"}
    assert len(judge_tasks(Evaluation.model_validate({"judges": [guard, named]}))) == 2
