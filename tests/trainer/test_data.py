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
from hardening_trainer.errors import CorruptInput, DataFault, StageError, Unavailable, UsageFault

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


GOOD = json.dumps(ROWS[0]).encode()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"prompt": "half \\ud83d a pair"}', "stands alone"),
        (b'{"prompt": "Bake?", "note": "\\udc00"}', "stands alone"),
        (b'{"\\udfff": 1, "prompt": "Bake?"}', "stands alone"),
        (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
        (b'{"note": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "nested too deep"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"prompt": "Bake?", "note": ' + b"7" * 5_000 + b"}", "more than 4300 digits"),
        (b'{"prompt": "Bake?", "note": -' + b"7" * 5_000 + b"}", "more than 4300 digits"),
        (b'{"prompt": "Bake?", "prompt": "Walk?"}', "the name 'prompt' stands twice"),
        (b'{"prompt": "Bake?", "note": {"a": 1, "a": 2}}', "the name 'a' stands twice"),
        (b'{"prompt": "Bak\xff?"}', "byte 16: expected UTF-8"),
        (b'{"prompt": "Bake\x00?"}', "expected JSON"),
        (b'{"prompt": NaN}', "prompt: got nothing: expected text"),
        (b'{"prompt": 1e999}', "prompt: got float: expected text"),
        (b'{"prompt": true}', "prompt: got bool: expected text"),
        (b'{"prompt": ["Bake?"]}', "prompt: got list: expected text"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_whatever_is_wrong_with_it(tmp_path: Path, line: bytes, found: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n")
    with pytest.raises(DataFault) as caught:
        read_prompts(source(path), {})
    assert f"line 2: {found}" in caught.value.message or (
        "line 2: " in caught.value.message and found in str(caught.value)
    )
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD,
        GOOD + b"\r" + GOOD + b"\r",
        GOOD + b"\r\n\r\n" + GOOD + b"\r\n",
        GOOD + b"\n\n \n" + GOOD,
        GOOD[:-1] + b', "note": NaN, "other": -Infinity}\n' + GOOD,
        GOOD[:-1] + b', "note": 1e999}\n' + GOOD,
        GOOD[:-1] + b', "note": "\\ud83d\\ude42 \\u0000"}\n' + GOOD,
        GOOD[:-1] + b', "note": ' + b"[" * 100 + b"]" * 100 + b"}\n" + GOOD,
    ],
)
def test_what_does_no_harm_is_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    assert [row.prompt for row in read_pairs(source(path), {}).rows] == ["Bake bread?", "Bake bread?"]


def test_lines_are_counted_by_whatever_ends_them(tmp_path: Path) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(end.join([GOOD, b"", GOOD, b"{", b""]))
        with pytest.raises(DataFault, match="line 4: column 2"):
            read_pairs(source(path), {})


def test_a_long_cell_of_csv_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [{**ROWS[0], "preferred": "word " * 60_000}])
    assert len(read_pairs(source(path), {}).rows[0].preferred) == 300_000


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".csv":
        path.write_text("prompt,prompt\na,b\n")
    else:
        pq.write_table(pa.table([["a"], ["b"]], names=["prompt", "prompt"]), path)
    with pytest.raises(DataFault, match="two columns are named 'prompt'"):
        read_prompts(source(path), {})


def test_text_of_parquet_that_is_not_utf_8_is_refused_by_rows(tmp_path: Path) -> None:
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    pq.write_table(pa.table([broken], names=["prompt"]), tmp_path / "rows.parquet")
    with pytest.raises(DataFault, match="rows 1 to 1: text that is not UTF-8"):
        read_prompts(source(tmp_path / "rows.parquet"), {})


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": [user("Bake?")], "chosen": [assistant("No.")], "rejected": [assistant("Yes.")]}, "Bake?"),
        ({"chosen": [user("Bake?"), assistant("No.")], "rejected": [user("Bake?"), assistant("Yes.")]}, "Bake?"),
        (
            {
                "prompt": "Bake?",
                "chosen": [user("Bake?"), assistant("No.")],
                "rejected": [user("Bake?"), assistant("Yes.")],
            },
            "Bake?",
        ),
        ({"prompt": [user("Bake?")], "chosen": "No.", "rejected": "Yes."}, "Bake?"),
        (
            {"prompt": [SYSTEM, user("Bake?")], "chosen": [assistant("No.")], "rejected": [assistant("Yes.")]},
            "Be brief.\n\nBake?",
        ),
        ({"system": "Be brief.", "prompt": "Bake?", "chosen": "No.", "rejected": "Yes."}, "Be brief.\n\nBake?"),
        (
            {
                "prompt": [user("Hi"), assistant("Hello"), user("Bake?")],
                "chosen": [assistant("No.")],
                "rejected": [assistant("Yes.")],
            },
            "Human: Hi\n\nAssistant: Hello\n\nHuman: Bake?",
        ),
        (
            {
                "prompt": [{"from": "human", "value": "Bake?"}],
                "chosen": [{"from": "gpt", "value": "No."}],
                "rejected": [{"from": "gpt", "value": "Yes."}],
            },
            "Bake?",
        ),
    ],
)
def test_rows_of_messages_are_read(tmp_path: Path, row: dict[str, Any], prompt: str, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        jsonl(path, [row])
    [pair] = read_pairs(source(path), {}).rows
    assert (pair.prompt, pair.preferred, pair.dispreferred) == (prompt, "No.", "Yes.")
    assert read_prompts(source(path), {}).rows[0].prompt == prompt


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"prompt": [user("Bake?"), assistant("Well")]}, "prompt: the last message is an assistant's"),
        ({"prompt": [user("Bake?"), SYSTEM]}, "prompt: expected at most one system message, the first"),
        ({"prompt": [SYSTEM]}, "prompt: expected a user's message"),
        ({"prompt": [{"role": "tool", "content": "4"}]}, "prompt: message 1: expected a role"),
        ({"prompt": [{"role": "user", "content": 3}]}, "prompt: message 1: content: expected text"),
        ({"prompt": [{"role": "user", "content": [{"type": "image"}]}]}, "content: expected parts of text"),
        ({"chosen": [{**assistant("No."), "tool_calls": [{"name": "bake"}]}]}, "chosen: message 1: tool_calls"),
        ({"chosen": [user("No.")]}, "chosen: got messages without it"),
        ({"chosen": [assistant(" ")]}, "chosen: got messages without it"),
        ({"system": ["Be brief."]}, "system: got list: expected text"),
    ],
)
def test_messages_that_cannot_be_kept_are_refused_by_line(tmp_path: Path, change: dict[str, Any], found: str) -> None:
    row = {"system": None, "prompt": [user("Bake?")], "chosen": [assistant("No.")], "rejected": [assistant("Yes.")]}
    path = jsonl(tmp_path / "rows.jsonl", [row, {**row, **change}])
    with pytest.raises(DataFault, match="line 2: ") as caught:
        read_pairs(source(path), {})
    assert found in caught.value.message


def test_messages_whose_prompts_differ_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [
        {"chosen": [user("Bake?"), assistant("No.")], "rejected": [user(other), assistant("Yes.")]}
        for other in ("Bake?", "Walk?")
    ]
    table = read_pairs(source(jsonl(tmp_path / "rows.jsonl", rows)), {})
    assert (len(table.rows), table.dropped) == (1, {"PromptsDiffer": 1})


SAFER = {"responses": ["response_0", "response_1"], "safer": "safer_response_id"}


@pytest.mark.parametrize(("safer", "preferred"), [(0, "Yes."), (1, "No."), ("1", "No."), (True, "No."), (0.0, "Yes.")])
def test_the_safer_of_two_responses_is_preferred(tmp_path: Path, safer: Any, preferred: str) -> None:
    row = {"prompt": "Bake?", "response_0": "Yes.", "response_1": "No.", "safer_response_id": safer}
    [pair] = read_pairs(source(jsonl(tmp_path / "rows.jsonl", [row]), columns=SAFER), {}).rows
    assert pair.preferred == preferred
    assert {pair.preferred, pair.dispreferred} == {"Yes.", "No."}


@pytest.mark.parametrize("safer", [2, -1, None, "left", 0.5, [0], float("nan")])
def test_an_index_of_no_response_is_refused(tmp_path: Path, safer: Any) -> None:
    row = {"prompt": "Bake?", "response_0": "Yes.", "response_1": "No.", "safer_response_id": safer}
    with pytest.raises(DataFault, match=r"line 1: safer_response_id: .*expected 0 or 1"):
        read_pairs(source(jsonl(tmp_path / "rows.jsonl", [row]), columns=SAFER), {})


def test_the_advice_for_two_responses_can_be_followed(tmp_path: Path) -> None:
    row = {"prompt": "Bake?", "response_0": "Yes.", "response_1": "No.", "safer_response_id": 1}
    with pytest.raises(DataFault, match=r"responses and safer"):
        read_pairs(source(jsonl(tmp_path / "rows.jsonl", [row])), {})


def test_an_id_column_of_the_users_choice_may_repeat(tmp_path: Path) -> None:
    rows = [{"id": "a", "key": 7, **ROWS[0]}, {"id": "a", "key": 7, **ROWS[1]}, {"id": "a", "key": 8, **ROWS[2]}]
    path = jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataFault, match=r"line 2: id: the same as in line 1: .*columns: \{id: id\}"):
        read_pairs(source(path), {})
    assert [row.id for row in read_pairs(source(path, columns={"id": "key"}), {}).rows] == ["7", "7-2", "8"]
    assert [row.id for row in read_pairs(source(path, columns={"id": "id"}), {}).rows] == ["a", "a-2", "a-3"]


class _Nobody:
    """A hub that answers nothing."""

    def __init__(self, token: str | None) -> None:
        raise ConnectionError


@pytest.mark.parametrize(
    ("error", "kind", "found"),
    [
        (RuntimeError("Dataset scripts are no longer supported, but found name.py"), DataFault, "refs/convert/parquet"),
        (ValueError("Loading it requires you to set the option `trust_remote_code=True`"), DataFault, "refs/convert"),
        (datasets.exceptions.DataFilesNotFoundError("none"), DataFault, "no file of a known format"),
        (datasets.exceptions.DatasetGenerationError("secret words"), DataFault, "as one table"),
        (datasets.exceptions.NonMatchingSplitsSizesError([]), DataFault, "as one table"),
        (ConnectionError("none"), Unavailable, "try again"),
        (TimeoutError(), Unavailable, "try again"),
    ],
)
def test_a_hub_dataset_that_cannot_be_read_says_whether_a_retry_helps(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[StageError], found: str
) -> None:
    def load_dataset(*_: Any, **__: Any) -> datasets.Dataset:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("huggingface_hub.HfApi", _Nobody)
    with pytest.raises(kind, match=found) as caught:
        read_prompts(DataSource(uri="hf://org/name"), {})
    assert "secret" not in caught.value.message
