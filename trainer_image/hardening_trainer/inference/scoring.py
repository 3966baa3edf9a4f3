"""Log-probabilities of many answers under one model after another, in parts that survive an interruption."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hardening_trainer.inference.chat import encode_pair
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.models import ResolvedModel, load_causal_lm, load_tokenizer
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.storage.workspace import atomic_file

log = logging.getLogger(__name__)

PART = 64
"""Items scored between two safe points."""


@dataclass(frozen=True)
class Item:
    """A prompt and two answers to it."""

    prompt: str = field(repr=False)
    first: str = field(repr=False)
    second: str = field(repr=False)


@dataclass(frozen=True)
class Scored:
    """Log-probabilities (nats) of both answers, and their tokens."""

    first: float
    second: float
    tokens: tuple[int, int]


class LogprobPass:
    """Scores items with models that are loaded only when there is something left to score, one at a time."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._digest: str | None = None
        self._loaded: tuple[Any, Any] | None = None

    def run(self, name: str, model: ResolvedModel, items: Sequence[Item]) -> list[Scored]:
        """Score `items`; parts saved under `name` by an interrupted attempt are taken as they are."""
        scored: list[Scored] = []
        for start in range(0, len(items), PART):
            part = items[start : start + PART]
            file = self._context.partial / f"{name}-{start // PART:05}.json"
            key = _key(model, part)
            values = _saved(file, key)
            if values is None:
                self._context.stop.check()
                values = self._score(model, part)
                with atomic_file(file) as stream:
                    stream.write(json.dumps({"key": key, "values": values}).encode())
                self._context.keep_partial()
            self._context.progress.advance(len(part))
            scored.extend(Scored(first, second, (m, n)) for first, second, m, n in values)
        return scored

    def _score(self, resolved: ResolvedModel, part: Sequence[Item]) -> list[list[Any]]:
        if self._digest != resolved.digest:
            self._loaded = None  # let go of the one model before the next takes its place in memory
            self._loaded = load_causal_lm(resolved.path), load_tokenizer(resolved.path)
            self._digest = resolved.digest
        assert self._loaded is not None  # noqa: S101  # set just above, or by an earlier part
        model, tokenizer = self._loaded
        pairs = [encode_pair(tokenizer, item.prompt, item.first, item.second) for item in part]
        sums = answer_logprobs(model, [p.prompt for p in pairs], [[p.preferred, p.dispreferred] for p in pairs])
        self._context.progress.advance(
            tokens=sum(len(p.prompt) + len(p.preferred) + len(p.dispreferred) for p in pairs)
        )
        return [[*logps, len(p.preferred), len(p.dispreferred)] for logps, p in zip(sums, pairs, strict=True)]


def _key(model: ResolvedModel, part: Sequence[Item]) -> str:
    digest = hashlib.sha256(model.digest.encode())
    for item in part:
        digest.update(json.dumps([item.prompt, item.first, item.second]).encode())
    return digest.hexdigest()


def _saved(file: Any, key: str) -> list[list[Any]] | None:
    if not file.exists():
        return None
    try:
        document = json.loads(file.read_bytes())
    except ValueError:
        log.warning("%s is damaged: it is scored again", file.name)
        return None
    return document["values"] if document["key"] == key else None
