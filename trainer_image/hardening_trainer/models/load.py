"""Loading a resolved model: safetensors only, no remote code, and errors that say what to do."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.errors import ModelNotUsable, UsageFault
from hardening_trainer.inference.chat import end_of_answer
from hardening_trainer.inference.probe import probe
from hardening_trainer.models.chat_template import checked_template

log = logging.getLogger(__name__)

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
DTYPE_VARIABLE = "HARDENING_DTYPE"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_NO_END = "its chat template ends an answer with no token of its own: answers may run to maxNewTokens"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_causal_lm(
    path: Path, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> PreTrainedModel:
    """The causal language model in folder `path`, in evaluation mode, on `device` (default: CUDA if present).

    `dtype` None takes bfloat16 where the hardware computes in it, else float32. Raises ModelNotUsable.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    _check_weights(path)
    try:
        model, report = _loaded(path, dtype or native_dtype(device))
    except SafetensorError as error:
        advice = "its safetensors are torn or not safetensors: fetch or save it again"
        raise ModelNotUsable(path, str(error).splitlines()[0], advice) from error
    except (ValueError, OSError, KeyError, ImportError) as error:
        advice = "expected a causal language model that this transformers knows, without code of its own"
        raise ModelNotUsable(path, _first_line(error), advice) from error
    if report["missing_keys"]:
        found = f"its weights lack {', '.join(sorted(report['missing_keys'])[:3])}"
        raise ModelNotUsable(path, found, "it would start with random numbers there: fetch or save it again")
    model.train(False)
    placed: PreTrainedModel = torch.nn.Module.to(model, device)
    probe(placed)
    return placed


def _loaded(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model and what was missing or left over in its weights."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        attn_implementation=_attention(path),
        output_loading_info=True,
    )
    model, report = loaded
    return model, report


def _attention(path: Path) -> str:
    """`sdpa`, or `eager` for a model that sdpa would compute wrongly or not at all (soft-capped logits, sinks)."""
    config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    if getattr(config.get_text_config(), "attn_logit_softcapping", None):
        return "eager"
    if type(config) not in AutoModelForCausalLM._model_mapping:
        return "sdpa"  # it is refused in a moment, in transformers' words
    model_class: Any = AutoModelForCausalLM._model_mapping[type(config)]
    return "sdpa" if model_class._supports_sdpa else "eager"


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in folder `path`: with a checked chat template, and a pad token (its own, else end or unknown).

    Never resizes the vocabulary. Raises ModelNotUsable.
    """
    if not any((path / name).is_file() for name in _TOKENIZERS):
        raise ModelNotUsable(path, "no tokenizer files", "save the tokenizer beside the weights")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception on a bad file
        advice = "expected tokenizer files that this transformers reads: fetch or save them again"
        raise ModelNotUsable(path, f"tokenizer: {_first_line(error)}", advice) from error
    if not tokenizer.chat_template:
        advice = "expected an instruct model: choose one, or add chat_template.jinja"
        raise ModelNotUsable(path, "its tokenizer has no chat template", advice)
    tokenizer.chat_template = checked_template(tokenizer, path)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ModelNotUsable(path, "no pad, end or unknown token", "set pad_token in tokenizer_config.json")
    return tokenizer


def end_of_turn_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end an answer: the model's own list, the tokenizer's end token and the chat template's, sorted."""
    own = model.generation_config.eos_token_id if model.generation_config else model.config.eos_token_id
    ids = set(own if isinstance(own, list) else [own]) | {tokenizer.eos_token_id}
    written = end_of_answer(tokenizer)
    if written is None:
        log.warning("%s: %s", tokenizer.name_or_path, _NO_END)
    ids.add(written)
    return sorted(token for token in ids if token is not None)


def end_of_turn_notice(path: Path) -> str | None:
    """The warning for a model in folder `path` whose chat template ends no answer; None where it ends them."""
    return _NO_END if end_of_answer(load_tokenizer(path)) is None else None


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where `device` has instructions for it, else float32 (emulated bfloat16 is many times slower).

    `$HARDENING_DTYPE` (float32, bfloat16) overrides it, for figures that are to be equal on machines of two kinds.
    """
    chosen = chosen_dtype()
    if chosen is not None:
        return chosen
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16")
    return torch.bfloat16 if native else torch.float32


def chosen_dtype() -> torch.dtype | None:
    """Return what `$HARDENING_DTYPE` names, or None where it is not set. Raises UsageFault."""
    chosen = os.environ.get(DTYPE_VARIABLE)
    if chosen is None:
        return None
    if chosen not in DTYPES:
        raise UsageFault(f"{DTYPE_VARIABLE}: got {chosen}: expected {' or '.join(DTYPES)}")
    return DTYPES[chosen]


def _check_weights(path: Path) -> None:
    if any(path.glob("*.safetensors")):
        return
    if any(file for pattern in _PICKLES for file in path.glob(pattern)):
        advice = "pickles can run code: convert it, save_pretrained writes safetensors"
        raise ModelNotUsable(path, "its weights are pickles only", advice)
    raise ModelNotUsable(path, "no *.safetensors in it", "expected a folder as save_pretrained writes it")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
