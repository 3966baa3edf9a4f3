"""What we change in other libraries still takes hold there, and ends when it should."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

gguf: Any = pytest.importorskip("gguf")

from hardening_trainer.compat.deepspeed import leave_out_the_communication_kernel  # noqa: E402
from hardening_trainer.compat.gguf import parsed_once  # noqa: E402


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that the gguf package has parsed."""
    seen: list[str] = []

    class Reader(gguf.GGUFReader):  # type: ignore[misc]
        def __init__(self, path: str) -> None:
            seen.append(path)
            super().__init__(path)

    monkeypatch.setattr(gguf, "GGUFReader", Reader)
    return seen


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A GGUF file with metadata alone."""
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return str(path)


def test_transformers_parses_a_gguf_file_once_in_the_block_and_each_time_outside(file: str, parses: list[str]) -> None:
    with parsed_once():
        inside = [load_gguf_checkpoint(file)["config"] for _ in range(2)]
    assert parses == [file]
    assert inside[0] == inside[1] == load_gguf_checkpoint(file)["config"]
    assert parses == [file, file]


def test_the_package_is_as_it_was_after_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    with pytest.raises(FileNotFoundError), parsed_once():
        load_gguf_checkpoint(str(tmp_path / "no-such.gguf"))
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before


@pytest.mark.slow
def test_deepspeed_builds_no_communication_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    from deepspeed import ops
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

    known = dict(ops.__compatible_ops__)
    assert ShareMemCommBuilder.NAME in known
    monkeypatch.setattr(ops, "__compatible_ops__", known)
    leave_out_the_communication_kernel()
    assert known[ShareMemCommBuilder.NAME] is False
    assert import_module("deepspeed.comm.torch").build_shm_op() is None
