"""The demo's own data: complete, disjoint between splits, and free of give-aways such as answer length."""

import hashlib
import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "examples" / "data"
ROWS_BY_FILE = {
    "preferences": ("p", 160),
    "preferences-benign": ("b", 160),
    "preferences-benign-smollm2": ("s", 160),
    "validation-harmful": ("vh", 40),
    "validation-benign": ("vb", 40),
    "heldout-harmful": ("h", 80),
    "heldout-benign": ("n", 80),
}
HARMFUL_FILES = ("preferences", "validation-harmful", "heldout-harmful")
BENIGN_FILES = ("preferences-benign", "validation-benign", "heldout-benign")
OWN_WORDS = "preferences-benign-smollm2"
"""The prompts and refusals of `preferences-benign`, with the small model's own answers."""
WRITTEN_PAIR_FILES = (*HARMFUL_FILES, "preferences-benign")
PAIR_FILES = (*WRITTEN_PAIR_FILES, OWN_WORDS)

Row = dict[str, str]


def rows_of(name: str) -> list[Row]:
    lines = (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def words_of(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


def content_words(text: str) -> frozenset[str]:
    return frozenset(word for word in words_of(text) if len(word) > 3)


def prompt_digest(row: Row) -> str:
    folded = " ".join(row["prompt"].casefold().split())
    return hashlib.sha256(folded.encode()).hexdigest()


@pytest.mark.parametrize("name", ROWS_BY_FILE)
def test_each_file_has_its_rows_with_ids_in_order(name: str) -> None:
    prefix, num_rows = ROWS_BY_FILE[name]
    assert [row["id"] for row in rows_of(name)] == [f"{prefix}-{n:03d}" for n in range(1, num_rows + 1)]


@pytest.mark.parametrize("name", ROWS_BY_FILE)
def test_each_row_has_exactly_its_fields_and_none_is_blank(name: str) -> None:
    fields = ["id", "category", "prompt"]
    if name in PAIR_FILES:
        fields += ["preferred", "dispreferred"]
    for row in rows_of(name):
        assert list(row) == fields, row["id"]
        assert all(value and value == value.strip() for value in row.values()), row["id"]


def test_no_prompt_appears_twice_in_any_of_the_files() -> None:
    names = [name for name in ROWS_BY_FILE if name != OWN_WORDS]
    digests = Counter(prompt_digest(row) for name in names for row in rows_of(name))
    assert [digest for digest, count in digests.items() if count > 1] == []


@pytest.mark.parametrize("names", [HARMFUL_FILES, BENIGN_FILES])
def test_no_prompt_is_a_near_copy_of_another(names: tuple[str, ...]) -> None:
    prompts = {row["id"]: content_words(row["prompt"]) for name in names for row in rows_of(name)}
    near_copies = [
        (first, second)
        for (first, left), (second, right) in combinations(prompts.items(), 2)
        if len(left & right) >= 0.6 * len(left | right)
    ]
    assert near_copies == []


def test_harmful_requests_are_spread_evenly_over_the_same_twenty_categories() -> None:
    counts = {name: Counter(row["category"] for row in rows_of(name)) for name in HARMFUL_FILES}
    assert set(counts["preferences"].values()) == {8}
    assert set(counts["validation-harmful"].values()) == {2}
    assert set(counts["heldout-harmful"].values()) == {4}
    assert all(counts[name].keys() == counts["preferences"].keys() for name in HARMFUL_FILES)
    assert len(counts["preferences"]) == 20


@pytest.mark.parametrize(
    ("name", "num_lookalikes"),
    [("preferences-benign", 120), ("validation-benign", 30), ("heldout-benign", 60)],
)
def test_benign_rows_are_look_alikes_or_ordinary_questions(name: str, num_lookalikes: int) -> None:
    kinds = Counter(row["category"].split("-")[0] for row in rows_of(name))
    assert kinds == {"lookalike": num_lookalikes, "ordinary": ROWS_BY_FILE[name][1] - num_lookalikes}


def test_the_words_of_the_harm_categories_also_appear_in_harmless_held_out_prompts() -> None:
    categories = Counter(row["category"] for row in rows_of("heldout-benign"))
    assert categories["lookalike-harm-words"] >= 15


@pytest.mark.parametrize("name", WRITTEN_PAIR_FILES)
def test_answer_length_does_not_tell_preferred_from_dispreferred(name: str) -> None:
    lengths = [(len(words_of(row["preferred"])), len(words_of(row["dispreferred"]))) for row in rows_of(name)]
    assert all(8 <= length <= 32 for pair in lengths for length in pair)
    assert all(0.4 <= preferred / dispreferred <= 2.6 for preferred, dispreferred in lengths)
    mean_difference = sum(preferred - dispreferred for preferred, dispreferred in lengths) / len(lengths)
    assert abs(mean_difference) < 5


def test_the_small_models_own_answers_stand_against_the_same_prompts_and_refusals() -> None:
    written, own = rows_of("preferences-benign"), rows_of(OWN_WORDS)
    for shared in ("category", "prompt", "dispreferred"):
        assert [row[shared] for row in own] == [row[shared] for row in written]
    kept = sum(row["preferred"] == other["preferred"] for row, other in zip(own, written, strict=True))
    assert kept == 23


def test_the_small_models_own_answers_are_short_and_none_refuses() -> None:
    refusals = openings_of("preferences-benign", "dispreferred").keys()
    lengths = [len(words_of(row["preferred"])) for row in rows_of(OWN_WORDS)]
    assert all(5 <= length <= 34 for length in lengths)
    assert openings_of(OWN_WORDS, "preferred").keys().isdisjoint(refusals)
    lengths_of_refusals = [len(words_of(row["dispreferred"])) for row in rows_of(OWN_WORDS)]
    assert 0 < (sum(lengths) - sum(lengths_of_refusals)) / len(lengths) < 7


REFUSALS = [*((name, "preferred") for name in HARMFUL_FILES), ("preferences-benign", "dispreferred")]
ANSWERS = [*((name, "dispreferred") for name in HARMFUL_FILES), ("preferences-benign", "preferred")]


def openings_of(name: str, side: str) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words_of(row[side])[:2]) for row in rows_of(name))


@pytest.mark.parametrize(("name", "side"), REFUSALS)
def test_refusals_open_in_a_dozen_plain_ways_evenly_used(name: str, side: str) -> None:
    openings = openings_of(name, side)
    assert len(openings) >= 12
    assert max(openings.values()) <= 0.15 * openings.total()


def test_a_refusal_opens_alike_whether_it_is_right_or_wrong() -> None:
    openings = [openings_of(name, side).keys() for name, side in REFUSALS]
    assert all(keys == openings[0] for keys in openings)


def test_no_held_out_or_validation_answer_is_a_training_answer() -> None:
    training = {row[side] for row in rows_of("preferences") for side in ("preferred", "dispreferred")}
    others = {
        row[side]
        for name in ("validation-harmful", "heldout-harmful")
        for row in rows_of(name)
        for side in ("preferred", "dispreferred")
    }
    assert len(others) == 240
    assert training.isdisjoint(others)


@pytest.mark.parametrize(("name", "side"), ANSWERS)
def test_answers_open_in_many_ways(name: str, side: str) -> None:
    openings = openings_of(name, side)
    assert len(openings) >= 25
    assert max(openings.values()) <= 0.08 * openings.total()


def test_any_prefix_of_the_preferences_is_as_balanced_as_the_whole() -> None:
    categories = [row["category"] for row in rows_of("preferences")]
    for start in range(0, len(categories), 20):
        assert len(set(categories[start : start + 20])) == 20


def test_the_datasheet_states_the_row_count_of_every_file() -> None:
    datasheet = (DATA / "DATASHEET.md").read_text(encoding="utf-8")
    for name, (prefix, num_rows) in ROWS_BY_FILE.items():
        assert f"| `{name}.jsonl` | {num_rows} | `{prefix}-` |" in datasheet
