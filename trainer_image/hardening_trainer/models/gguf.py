"""A GGUF file becomes a plain safetensors folder, once."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hardening_trainer.compat.gguf import parsed_once
from hardening_trainer.errors import ModelNotUsable
from hardening_trainer.models.files import file_digest, new_folder


def convert_gguf(uri: str, path: Path, cache_dir: Path) -> Path:
    """The folder under `cache_dir` that holds the weights of `path` in float32, its tokenizer and chat template.

    Converted on the first call and reused after, by the digest of the file. Raises ModelNotUsable.
    """
    target = cache_dir / "gguf" / file_digest(path)[:32]
    if target.is_dir():
        return target
    with new_folder(target) as folder:
        try:
            _convert(path, folder)
        except (ValueError, KeyError, IndexError, NotImplementedError, RuntimeError) as error:
            found = f"this GGUF file cannot be read ({type(error).__name__})"
            advice = "expected a complete file of an architecture transformers knows: fetch it again"
            raise ModelNotUsable(uri, found, advice) from error
    return target


def _convert(path: Path, folder: Path) -> None:
    with parsed_once():
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        loaded = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
        )
    # What was loaded is marked as quantised and refuses to be saved; its tensors are not.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
