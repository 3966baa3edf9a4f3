"""A served model as the candidate: an OpenAI-compatible endpoint answers, no weights are loaded here."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from hardening_api.sources import Endpoint
from hardening_trainer.errors import JudgeMisconfigured, JudgeUnavailable, Unavailable, UsageFault
from hardening_trainer.inference.chat_client import ChatEndpoint
from hardening_trainer.judges import Limits
from hardening_trainer.storage.credentials import read_secret
from hardening_trainer.storage.resume_cache import key_of

PROBE = "Hello"
PROBE_TOKENS = 16
"""Some endpoints refuse to stop earlier."""


@dataclass(frozen=True)
class ServedModel:
    """Asks the endpoint greedily. Its digest names address and model: what answers there cannot be hashed."""

    chat: ChatEndpoint = field(repr=False)
    digest: str

    def probe(self) -> None:
        """Ask for a few tokens before any attack is drawn: a model nobody serves shows at once. Raises as `answers`."""
        self.answers([PROBE], PROBE_TOKENS)

    def answers(self, asked: Sequence[str], max_new_tokens: int) -> list[str | None]:
        """Return the answers in order; None where the endpoint refuses that one question or replies nonsense.

        Raises Unavailable (`TargetUnreachable`) and UsageFault (`TargetMisconfigured`).
        """
        try:
            return self.chat.each(lambda text: self._answer(text, max_new_tokens), asked, lambda _: None)
        except JudgeUnavailable as error:
            raise Unavailable(f"target {error}: check that it is served and reachable", "TargetUnreachable") from None
        except JudgeMisconfigured as error:
            raise UsageFault(f"target {error}", "TargetMisconfigured") from None

    def _answer(self, text: str, max_new_tokens: int) -> str | None:
        # A lone surrogate, which a JSONL file may hold, has no UTF-8.
        message = {"role": "user", "content": text.encode("utf-8", "replace").decode()}
        return self.chat.ask([message], max_new_tokens).strip()


def served_model(endpoint: Endpoint, client: httpx.Client, environ: Mapping[str, str]) -> ServedModel:
    """Return the model behind `endpoint`. Raises UsageFault where it cannot work as set up."""
    limits = Limits(
        timeout_s=endpoint.timeout_seconds,
        max_retries=endpoint.max_retries,
        requests_per_minute=endpoint.requests_per_minute,
    )
    key = read_secret(endpoint.secret_ref, "apiKey", environ)
    try:
        chat = ChatEndpoint(
            endpoint.base_url, endpoint.model, client, key, time.monotonic, time.sleep, random.random, limits
        )
    except JudgeMisconfigured as error:
        raise UsageFault(f"endpoint: {error}", "TargetMisconfigured") from None
    return ServedModel(chat, key_of("served", chat.base_url, chat.model))
