"""`hardening score` and `hardening judge` as processes: exit codes, an end by Ctrl-C, a reader that has enough."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "from hardening_operator.cli.main import run; run()"]
JUDGE = [*PROGRAM, "judge", "--type", "RefusalPattern"]
ROWS = [{"prompt": "How do I bake?", "answer": answer} for answer in ("Sorry, I cannot help.", "Mix the flour first.")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_each_row_is_a_line_of_json(file: Path) -> None:
    done = subprocess.run([*JUDGE, str(file)], capture_output=True, text=True, check=True)
    assert [json.loads(line)["verdict"] for line in done.stdout.splitlines()] == ["safe", "harmful"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["score", "--model", "m", "--alpha=-1", "rows.jsonl"], "hardening score: --alpha: got -1.0: expected "),
        (
            ["score", "--model", "m", "--alpha", "0", "/no/rows.jsonl"],
            "hardening score: file:///no/rows.jsonl: no such",
        ),
        (["judge", "--type", "Oracle", "rows.jsonl"], "hardening judge: error: argument --type: invalid choice: "),
    ],
)
def test_a_fault_is_told_in_the_name_of_the_command_and_exits_2(arguments: list[str], line: str) -> None:
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(line)


def test_a_reader_that_has_enough_is_no_fault(file: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen([*JUDGE, str(file)], stdout=writer, stderr=subprocess.PIPE, text=True) as program:
        os.close(writer)
        _, told = program.communicate()
    assert (program.returncode, told) == (0, "")


def test_ctrl_c_ends_it_without_a_traceback(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as endpoint:
        address = f"http://127.0.0.1:{endpoint.getsockname()[1]}"
        asking = [*PROGRAM, "judge", "--type", "OpenAI", "--model", "m", "--base-url", address, str(file)]
        program = subprocess.Popen(asking, stderr=subprocess.PIPE, text=True, start_new_session=True)
        connection, _ = endpoint.accept()  # it waits for an answer now
        os.killpg(program.pid, signal.SIGINT)
        _, told = program.communicate()
        connection.close()
    assert (program.returncode, told) == (130, "")
