"""Reading preferences and prompts: formats, columns, faults by line, ids, digests."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardening_api.sources import DataSource
from hardening_trainer.data import prompt_hash, read_pairs, read_prompts
from hardening_trainer.errors import CorruptInput, DataFault, StageError, UsageFault

ROWS = [
    {"prompt": "Bake bread?", "preferred": "No.", "dispreferred": "Yes."},
    {"prompt": "Water plants?", "preferred": "Never.", "dispreferred": "Daily."},
    {"prompt": "Walk the dog?", "preferred": "Not I.", "dispreferred": "Gladly."},
]
SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not beside this checkout")


def source(path: Path, **more: Any) -> DataSource:
    return DataSource.model_validate({"uri": f"file://{path}", **more})


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    else:
        jsonl(path, rows)
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.parquet", "with space.jsonl"])
def test_every_format_gives_the_same_rows_and_the_same_digest(tmp_path: Path, name: str) -> None:
    expected = read_pairs(source(jsonl(tmp_path / "reference.jsonl", ROWS)), {})
    path = write(tmp_path / name, ROWS)
    table = read_pairs(DataSource(uri=path.as_uri()), {})
    assert table == expected
    assert [row.prompt for row in table.rows] == [row["prompt"] for row in ROWS]


def test_other_names_of_columns_are_known_or_given(tmp_path: Path) -> None:
    renamed = [{"q": row["prompt"], "chosen": row["preferred"], "rejected": row["dispreferred"]} for row in ROWS]
    table = read_pairs(source(jsonl(tmp_path / "rows.jsonl", renamed), columns={"prompt": "q"}), {})
    assert (table.rows[1].preferred, table.rows[1].dispreferred) == ("Never.", "Daily.")


def test_a_missing_column_is_told_with_those_there_are(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"question": "Bake?", "preferred": "No", "dispreferred": "Yes"}])
    with pytest.raises(DataFault, match=r"line 1: no column 'prompt' for the prompt, but .*question.*: name it in col"):
        read_pairs(source(path), {})


def test_offset_and_limit_choose_rows_and_change_the_digest(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", ROWS)
    part = read_pairs(source(path, offset=1, limit=1), {})
    assert [row.prompt for row in part.rows] == ["Water plants?"]
    assert part.digest != read_pairs(source(path), {}).digest


def test_faults_name_line_and_column_but_never_the_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(ROWS[0])
    secret = '{"prompt": "secret words", "preferred": "", "dispreferred": 3}'
    path.write_text("\n".join([good, "", "{broken secret", secret, "[1]", good[:-1]]))
    with pytest.raises(DataFault) as caught:
        read_pairs(source(path), {})
    message = caught.value.message
    assert "line 3: column 2: expected JSON" in message
    assert "line 4: preferred: got empty text: expected text" in message
    assert "line 4: dispreferred: got int: expected text" in message
    assert "line 5: expected a JSON object" in message
    assert "line 6: column" in message
    assert "secret" not in message
    assert caught.value.exit_code == 65


def test_at_most_five_faults_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    rows = [ROWS[0]] + [{"prompt": "a", "preferred": None, "dispreferred": "b"}] * 9
    with pytest.raises(DataFault, match="9 faults") as caught:
        read_pairs(source(jsonl(tmp_path / "rows.jsonl", rows)), {})
    assert caught.value.message.count("line ") == 5
    assert "and 4 more" in caught.value.message


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.touch()
    with pytest.raises(DataFault, match="no rows"):
        read_prompts(source(path), {})


def test_another_encoding_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(ROWS[0]).encode() + b"\n" + '{"prompt": "é"}'.encode("latin-1"))
    with pytest.raises(DataFault, match="line 2: byte 13: expected UTF-8"):
        read_prompts(source(path), {})


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbfprompt\nBake bread?\n")
    assert read_prompts(source(path), {}).rows[0].prompt == "Bake bread?"


def test_a_csv_row_with_too_many_cells_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,preferred,dispreferred\na,b,c\na,b,c,d\n")
    with pytest.raises(DataFault, match="line 3: expected 3 columns"):
        read_pairs(source(path), {})


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl.gz"])
def test_a_truncated_file_is_corrupt(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS * 50)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptInput, match="truncated or damaged"):
        read_pairs(source(path), {})


def test_a_file_that_is_not_gzip_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_text(json.dumps(ROWS[0]))
    with pytest.raises(CorruptInput, match="gzip"):
        read_pairs(source(path), {})


def test_no_such_file_and_no_such_format(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="no such file"):
        read_pairs(source(tmp_path / "none.jsonl"), {})
    with pytest.raises(UsageFault, match="expected a file that ends in"):
        read_pairs(source(tmp_path / "rows.txt"), {})


def test_given_ids_are_kept_and_must_differ(tmp_path: Path) -> None:
    named = [{"id": f"p-{index}", **row} for index, row in enumerate(ROWS)]
    assert [row.id for row in read_pairs(source(jsonl(tmp_path / "a.jsonl", named)), {}).rows] == ["p-0", "p-1", "p-2"]
    with pytest.raises(DataFault, match="line 4: id: the same as in line 1"):
        read_pairs(source(jsonl(tmp_path / "b.jsonl", [*named, named[0]])), {})


def test_ids_made_from_prompts_are_stable_and_distinct(tmp_path: Path) -> None:
    rows = [ROWS[0], {**ROWS[0], "preferred": "Rather not."}]
    first, second = read_pairs(source(jsonl(tmp_path / "rows.jsonl", rows)), {}).rows
    assert first.id == hashlib.sha256(b"Bake bread?").hexdigest()[:16]
    assert second.id == f"{first.id}-2"


def test_equal_answers_are_dropped_and_counted_and_the_digest_still_sees_them(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [*ROWS, {"prompt": "Nap?", "preferred": "Yes.", "dispreferred": "Yes."}])
    table = read_pairs(source(path), {})
    assert (len(table.rows), table.dropped) == (3, {"SameAnswers": 1})
    assert table.digest == read_prompts(source(path), {}).digest


def dialogue(*turns: str) -> str:
    return "".join(f"\n\n{'Assistant' if index % 2 else 'Human'}: {turn}" for index, turn in enumerate(turns))


def test_transcripts_give_all_but_the_last_answer_as_prompt(tmp_path: Path) -> None:
    rows = [
        {"chosen": dialogue("Bake bread?", "No."), "rejected": dialogue("Bake bread?", "Yes.")},
        {"chosen": dialogue("Hi", "Hello", "Walk?", "No."), "rejected": dialogue("Hi", "Hello", "Walk?", "Go.")},
        {"chosen": dialogue("Bake?", "No."), "rejected": dialogue("Make?", "Yes.")},
        {"chosen": dialogue("Bake?", "No."), "rejected": dialogue("Bake?", "")},
    ]
    table = read_pairs(source(jsonl(tmp_path / "rows.jsonl", rows)), {})
    assert [row.prompt for row in table.rows] == [
        "Bake bread?",
        "Human: Hi\n\nAssistant: Hello\n\nHuman: Walk?",
    ]
    assert [(row.preferred, row.dispreferred) for row in table.rows] == [("No.", "Yes."), ("No.", "Go.")]
    assert table.dropped == {"PromptsDiffer": 1, "EmptyAnswer": 1}


def test_rows_are_not_taken_for_transcripts_against_the_users_word(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"chosen": "No.", "rejected": "Yes."}])
    with pytest.raises(DataFault, match="expected two dialogues"):
        read_pairs(source(path, format="Transcripts"), {})


@needs_shared
def test_a_real_hh_rlhf_file_is_read_as_transcripts() -> None:
    table = read_pairs(source(SHARED / "hh-rlhf" / "harmless-base-test-head.jsonl.gz"), {})
    assert len(table.rows) + sum(table.dropped.values()) == 1500
    assert len(table.rows) > 1400
    assert not any(row.prompt.endswith("Assistant:") for row in table.rows)
    assert len({row.id for row in table.rows}) == len(table.rows)


@needs_shared
def test_real_xstest_prompts_are_read_from_csv() -> None:
    table = read_prompts(source(SHARED / "xstest" / "gpt4.csv"), {})
    assert len(table.rows) == 450


def test_a_hub_dataset_falls_back_from_configuration_to_folder_and_records_its_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []

    def load_dataset(path: str, **options: Any) -> datasets.Dataset:
        asked.append({"dataset": path, **options})
        if "data_dir" not in options:
            raise ValueError("no such configuration")
        return datasets.Dataset.from_list(ROWS)

    class Hub:
        def __init__(self, token: str | None) -> None:
            self.sha = "c0ffee"

        def dataset_info(self, name: str, revision: str | None) -> Any:
            return self

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    of_hub = DataSource(uri="hf://org/name", subset="folder", split="test", limit=2)
    table = read_pairs(of_hub, {})
    assert (len(table.rows), table.revision) == (2, "c0ffee")
    expected = {"dataset": "org/name", "data_dir": "folder", "split": "test", "revision": "c0ffee", "token": None}
    assert asked[-1] == expected


def test_a_missing_secret_names_where_it_was_expected() -> None:
    guarded = DataSource.model_validate({"uri": "hf://org/name", "secretRef": {"name": "hf-token"}})
    with pytest.raises(StageError, match="HARDENING_SECRET_HF_TOKEN_TOKEN"):
        read_prompts(guarded, {})


def test_a_file_of_a_package_is_found_without_importing_it() -> None:
    with pytest.raises(DataFault, match="no such file in package pytest"):
        read_prompts(DataSource(uri="package://pytest/none.jsonl"), {})
    with pytest.raises(DataFault, match="no installed package"):
        read_prompts(DataSource(uri="package://no_such_package/rows.jsonl"), {})


@pytest.mark.parametrize(
    "other", ["how do I bake bread?", "How  do\nI bake bread? ", "\uff28ow do I bake bread?", "HOW DO I BAKE BREAD?"]
)
def test_the_overlap_hash_is_blind_to_case_space_and_width(other: str) -> None:
    assert prompt_hash(other) == prompt_hash("How do I bake bread?")


def test_the_overlap_hash_tells_other_prompts_apart() -> None:
    assert prompt_hash("How do I bake bread?") != prompt_hash("How do I bake cake?")


def test_rows_do_not_show_their_text_when_printed(tmp_path: Path) -> None:
    table = read_pairs(source(jsonl(tmp_path / "rows.jsonl", ROWS)), {})
    assert "bread" not in repr(table) + repr(table.rows[0])
