"""From a judge's entry in a run's spec to the judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from hardening_api.evaluation import Judge as JudgeSpec
from hardening_api.sources import ModelSource
from hardening_trainer.judges import Judge, Limits, build_judge
from hardening_trainer.judges.openai import OpenAIJudge
from hardening_trainer.storage.credentials import read_secret

if TYPE_CHECKING:
    from hardening_trainer.models import ResolvedModel


@contextmanager
def opened_judge(
    spec: JudgeSpec, resolve: Callable[[ModelSource], ResolvedModel], environ: Mapping[str, str]
) -> Iterator[Judge]:
    """Build the judge of a spec's entry, and free what it used at the end of the block.

    `resolve` brings a model to this machine; `environ` holds the API key's place. An endpoint is asked
    once about a harmless answer, so that one that cannot judge says so first. Raises what `build_judge` and that do.
    """
    with httpx.Client() as client:
        judge = build_judge(
            name=spec.name, type=spec.type, threshold=spec.threshold, **_needs(spec, resolve, environ, client)
        )
        if isinstance(judge, OpenAIJudge):
            judge.probe()
        yield judge
        del judge
    if isinstance(spec.model, ModelSource):
        _free_memory()


def _needs(
    spec: JudgeSpec,
    resolve: Callable[[ModelSource], ResolvedModel],
    environ: Mapping[str, str],
    client: httpx.Client,
) -> dict[str, Any]:
    """What the type of a judge needs beside its name: a model, or a connection."""
    if isinstance(spec.model, ModelSource):
        resolved = resolve(spec.model)
        return {"model_path": resolved.path, "model_digest": resolved.digest, "device": _device()}
    if spec.type != "OpenAI":
        return {}
    limits = Limits(
        timeout_s=spec.timeout_seconds,
        max_retries=spec.max_retries,
        requests_per_minute=spec.requests_per_minute,
        max_requests=spec.max_requests,
    )
    key = read_secret(spec.secret_ref, "apiKey", environ)
    return {
        "base_url": spec.base_url,
        "model": spec.model,
        "api_key": key,
        "limits": limits,
        "client": client,
        "max_tokens": spec.max_tokens,
        "extra_body": spec.extra_body,
    }


def _device() -> str:
    import torch  # noqa: PLC0415  # judges without a model of their own do without it

    return "cuda" if torch.cuda.is_available() else "cpu"


def _free_memory() -> None:
    from hardening_trainer.models.in_memory import free_memory  # noqa: PLC0415  # as above

    free_memory()
