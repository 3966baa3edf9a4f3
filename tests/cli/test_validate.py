from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from hardening_api.run import HardeningRun
from hardening_api.validation import KINDS
from hardening_operator.cli.main import app
from hardening_operator.documents import load_one, read_documents
from tests.api.manifests import FAULTS, FULL, SMALL, Fault, small


def validate(*files: Path) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, files)])


def written(folder: Path, text: str | bytes, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


WITHOUT_BENIGN = (
    "warning: spec.data.evaluation.benign: got nothing: over-refusal is not measured, so a candidate that declines "
    "everything can pass: expected prompts that a useful model answers\n"
)


@pytest.mark.parametrize("text", [SMALL, FULL, json.dumps(small()), json.dumps(small(), indent="\t")])
def test_a_good_manifest_is_named_and_exits_0(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    result = validate(path)
    warned = "" if text == FULL else f"{path}: {WITHOUT_BENIGN}"
    assert (result.exit_code, result.stderr) == (0, warned)
    assert result.stdout.startswith(f"{path}: HardeningRun ")
    assert result.stdout.endswith(" is valid\n")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.at}={fault.put[:20]}")
def test_a_fault_is_one_line_on_stderr_and_exits_2(tmp_path: Path, fault: Fault) -> None:
    path = written(tmp_path, yaml.safe_dump(fault.document()))
    result = validate(path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{path}: {fault.names}: got ")
    assert ": expected " in result.stderr
    assert result.stderr.count("\n") == (2 if fault.put == "{url: a}" else 1)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", f"got nothing: expected one of {', '.join(KINDS)}"),
        ("---\n# only a comment\n", f"got nothing: expected one of {', '.join(KINDS)}"),
        ("- a\n- b\n", 'got ["a","b"]: expected an object with apiVersion, kind, metadata and spec'),
        ("text", 'got "text": expected an object with apiVersion, kind, metadata and spec'),
        (b"\xff\x00\x80", "got bytes that are not UTF-8 text: expected YAML or JSON"),
    ],
)
def test_a_file_without_an_object_is_refused(tmp_path: Path, text: str | bytes, line: str) -> None:
    path = written(tmp_path, text)
    result = validate(path)
    assert (result.exit_code, result.stderr) == (2, f"{path}: {line}\n")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: [1,\n", "line 3, column 1"),
        ("a: 1\n  b: 2\n", "line 2, column 4"),
        ("spec:\n  rounds: 1\n  rounds: 2\n", "line 3, column 3"),
        ('{"a": 1,\n "a": 2}', "line 2, column 2"),
        ('{"a": 1,\n "b" 2}', "line 2, column 6"),
        ("a: &x [*x]\n", "line 1, column 4"),
        ("a: !!python/object:os.system x\n", "line 1, column 4"),
        ("a: !!int x\n", "line 1, column 4"),
        ('a: "\x07"\n', "line 1, column 5"),
        ("[" * 5000, "line 1, column 1"),
    ],
)
def test_broken_yaml_is_refused_with_its_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    path = written(tmp_path, text)
    result = validate(path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}: {place}: got ")
    assert result.stderr.count("\n") == 1


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    result = validate(tmp_path / "missing.yaml", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"{tmp_path / 'missing.yaml'}: got no such file or directory: expected a readable YAML or JSON file",
        f"{tmp_path}: got is a directory: expected a readable YAML or JSON file",
    ]


def test_every_file_is_reported(tmp_path: Path) -> None:
    good, bad = written(tmp_path, SMALL, "good.yaml"), written(tmp_path, "[]", "bad.yaml")
    result = validate(bad, good)
    assert result.exit_code == 2
    assert result.stdout == f"{good}: HardeningRun small is valid\n"
    assert result.stderr.startswith(f"{bad}: got []")


def test_each_document_of_a_file_is_validated(tmp_path: Path) -> None:
    path = written(tmp_path, f"{SMALL}---\nkind: ConfigMap\napiVersion: hardening.dev/v1alpha1\n---\n")
    result = validate(path)
    assert result.stdout == f"{path}: HardeningRun small is valid\n"
    assert result.stderr.removeprefix(f"{path}: {WITHOUT_BENIGN}") == (
        f'{path}: document 2: kind: got "ConfigMap": expected one of {", ".join(KINDS)}\n'
    )


def test_no_file_is_a_usage_error() -> None:
    assert validate().exit_code == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-6", 5e-6),
        ("1e3", 1000),
        ("3.0", 3),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("1_000", 1000),
        ("0x10", 16),
        ("017", 15),
        ("0o17", 15),
        ("1:30", "1:30"),
        ("2025-01-01", "2025-01-01"),
        ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        ("yes", True),
        ("'5e-6'", "5e-6"),
        ("v1", "v1"),
        ("~", None),
        ("", None),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
    ],
)
def test_yaml_is_read_as_kubectl_reads_it(tmp_path: Path, text: str, value: Any) -> None:
    [document] = read_documents(written(tmp_path, f"a: {text}\n"))
    assert document == {"a": value}
    assert type(document["a"]) is type(value)


def test_merge_keys_and_aliases_are_read(tmp_path: Path) -> None:
    [document] = read_documents(written(tmp_path, "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\ne: *x\n"))
    assert document == {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}, "e": {"b": 1, "c": 2}}


def test_scientific_numbers_reach_the_run(tmp_path: Path) -> None:
    assert load_one(written(tmp_path, SMALL), HardeningRun).spec.training.learning_rate == 5e-6


APPROVAL = f"""\
apiVersion: hardening.dev/v1alpha1
kind: PromotionApproval
metadata: {{name: yes}}
spec: {{run: small, candidate: "sha256:{"0" * 64}", approver: eve}}
"""


def test_a_file_of_several_kinds_is_validated(tmp_path: Path) -> None:
    path = written(tmp_path, f"{SMALL}---\n{APPROVAL.replace('name: yes', 'name: fine')}")
    result = validate(path)
    assert (result.exit_code, result.stderr) == (0, f"{path}: {WITHOUT_BENIGN}")
    assert result.stdout == f"{path}: HardeningRun small is valid\n{path}: PromotionApproval fine is valid\n"


def test_a_fault_in_an_approval_names_its_field(tmp_path: Path) -> None:
    path = written(tmp_path, APPROVAL.replace("run: small", "run: Small"))
    result = validate(path)
    assert result.exit_code == 2
    assert f"{path}: metadata.name: got true: expected " in result.stderr
    assert f'{path}: spec.run: got "Small": expected ' in result.stderr


@pytest.mark.parametrize("more", [SMALL.replace("name: small", "name: other"), APPROVAL.replace("yes", "fine")])
def test_a_run_is_refused_where_its_file_holds_another_object(tmp_path: Path, more: str) -> None:
    path = written(tmp_path, f"{SMALL}---\n{more}")
    result = CliRunner().invoke(app, ["run", str(path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}: got HardeningRun small, ")
    assert result.stderr.endswith("expected one HardeningRun and nothing else: put it in a file of its own\n")


def test_help_loads_neither_the_contract_nor_anything_heavy() -> None:
    code = (
        "import sys, hardening_operator.cli.main; "
        "print([name for name in ('pydantic', 'torch', 'kubernetes', 'matplotlib') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout == "[]\n"


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("hardening ")
