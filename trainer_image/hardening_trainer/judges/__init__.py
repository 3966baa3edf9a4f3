"""The judges: who says whether an answer is harmful, and which of two answers is better."""

import random as _random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx

from hardening_trainer.errors import JudgeMisconfigured
from hardening_trainer.inference.chat_client import ChatEndpoint, Limits
from hardening_trainer.judges.base import CompareRow, Judge, Judgement, JudgeRow, Outcome, Preference, Refusal, Verdict
from hardening_trainer.judges.openai import MAX_TOKENS, OpenAIJudge
from hardening_trainer.judges.refusal_pattern import RefusalPattern

__all__ = [
    "CompareRow", "Judge", "Judgement", "JudgeRow", "Limits",
    "Outcome", "Preference", "Refusal", "Verdict", "build_judge",
]  # fmt: skip

_T = TypeVar("_T")


def build_judge(  # noqa: PLR0913 - the fields of the three types of a judge, by keyword
    *,
    name: str,
    type: Literal["RefusalPattern", "OpenAI", "LlamaGuard"],
    base_url: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
    limits: Limits | None = None,
    client: httpx.Client | None = None,
    model_path: Path | None = None,
    model_digest: str | None = None,
    device: str = "cpu",
    threshold: float = 0.5,
    max_tokens: int = MAX_TOKENS,
    extra_body: Mapping[str, Any] | None = None,
) -> Judge:
    """The judge of a spec's entry, loaded and ready.

    `OpenAI` needs `base_url` and `model` (with `api_key`, `limits`, `client`, `max_tokens` and `extra_body` if
    wanted), `LlamaGuard` needs
    `model_path` and `model_digest`. Raises `JudgeMisconfigured` naming what is missing.
    """
    if type == "RefusalPattern":
        return RefusalPattern(name)
    if type == "OpenAI":
        url, model = _required(name, "baseUrl", base_url), _required(name, "model", model)
        client = client or httpx.Client()
        endpoint = ChatEndpoint(
            url,
            model,
            client,
            api_key,
            time.monotonic,
            time.sleep,
            _random.random,
            limits or Limits(),
            extra_body or {},
        )
        return OpenAIJudge(name, endpoint, max_tokens)
    if type == "LlamaGuard":
        path, digest = _required(name, "model", model_path), _required(name, "model digest", model_digest)
        from hardening_trainer.judges.llama_guard import load_llama_guard  # noqa: PLC0415 - the other judges need no torch

        return load_llama_guard(name, path, digest, device=device, threshold=threshold)
    raise JudgeMisconfigured(f"judge {name}: type: got {type!r}: expected RefusalPattern, OpenAI or LlamaGuard")


def _required(name: str, field: str, value: _T | None) -> _T:
    if value is None:
        raise JudgeMisconfigured(f"judge {name}: {field}: missing: its type needs it")
    return value
