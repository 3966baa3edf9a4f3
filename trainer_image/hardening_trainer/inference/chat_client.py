"""One OpenAI-compatible chat endpoint, asked patiently: paced, retried, within a budget.

ask --> budget --> pace --> POST /chat/completions --> 200: the reply's text
                     ^                             |-> 400, 413, 422: this row's fault (BadReply)
                     |                             |-> other 3xx, 4xx: set up wrongly (JudgeMisconfigured)
                     +---- back off with jitter <--+-> 408, 429, 5xx, no connection, timeout
                                                         `-> retries spent: JudgeUnavailable
"""

import email.utils
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from hardening_trainer.errors import JudgeMisconfigured, JudgeUnavailable

Message = dict[str, str]

_ROW_STATUSES = frozenset({400, 413, 422})
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})


class BadReply(Exception):
    """There is no usable reply for one row; `reason` is one CamelCase word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """How hard an endpoint may be pressed."""

    timeout_s: float = 60.0
    """Of one request, in seconds."""
    max_retries: int = 6
    """Further tries after the first, for each question."""
    backoff_s: float = 1.0
    """Upper end of the first wait; it doubles with every try."""
    max_wait_s: float = 120.0
    """No single wait is longer. A server that asks for more is taken as unavailable."""
    requests_per_minute: float | None = None
    """Over all threads; None for no limit."""
    max_concurrency: int = 4
    """Threads that ask at the same time."""
    max_requests: int | None = None
    """Requests this judge may send in all, retries included; None for no limit."""

    def __post_init__(self) -> None:
        for name in ("timeout_s", "max_wait_s", "max_concurrency", "requests_per_minute", "max_requests"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise JudgeMisconfigured(f"{name}: got {value!r}: expected a number above 0")
        if self.max_retries < 0 or self.backoff_s < 0:
            raise JudgeMisconfigured("maxRetries and backoff: expected numbers not below 0")


@dataclass
class ChatEndpoint:
    """Asks one model at one endpoint. Safe to share between threads.

    `clock` gives seconds that never run backwards, `sleep` waits for seconds, `random` gives numbers in [0, 1).
    """

    base_url: str
    model: str
    client: httpx.Client = field(repr=False)
    api_key: str | None = field(repr=False)
    clock: Callable[[], float] = field(repr=False)
    sleep: Callable[[float], None] = field(repr=False)
    random: Callable[[], float] = field(repr=False)
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        url = httpx.URL(self.base_url)
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            raise JudgeMisconfigured("baseUrl: expected http(s)://HOST[:PORT]/v1 without user name or password")
        if self.api_key is not None:
            self.api_key = self.api_key.strip()
            if not self.api_key.isascii() or not self.api_key.isprintable():
                raise JudgeMisconfigured("api key: holds characters no header can carry: check the secret")
        self._lock = threading.Lock()
        self._num_sent = 0
        self._next_slot = self.clock()

    def ask(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The text of the model's reply, at temperature 0.

        Raises `BadReply` for this question alone, `JudgeUnavailable` when retries are spent, `JudgeMisconfigured`.
        """
        body = {"model": self.model, "messages": list(messages), "temperature": 0, "max_tokens": max_tokens}
        last = ""
        for attempt in range(self.limits.max_retries + 1):
            self._take_slot()
            wait_s = 0.0
            try:
                response = self._post(body)
            except httpx.TransportError as error:
                last = type(error).__name__
            except httpx.RequestError:
                raise BadReply("Unparsable") from None
            else:
                if response.is_success:
                    return _text_of(response)
                last = f"HTTP {response.status_code}"
                self._check_status(response.status_code)
                wait_s = retry_after_s(response.headers) or 0.0
            if wait_s > self.limits.max_wait_s:
                raise JudgeUnavailable(f"{self.base_url}: {last}, asks to wait {wait_s:.0f} s: try later")
            if attempt < self.limits.max_retries:
                self.sleep(max(wait_s, self._backoff_s(attempt)))
        tries = self.limits.max_retries + 1
        raise JudgeUnavailable(f"{self.base_url}: no answer in {tries} tries, the last: {last}")

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        url = f"{self.base_url}/chat/completions"
        return self.client.post(url, json=body, headers=headers, timeout=self.limits.timeout_s)

    def _check_status(self, status: int) -> None:
        """Raise for a status that a retry cannot change."""
        if status in _ROW_STATUSES:
            raise BadReply("Rejected")
        if status < 500 and status not in _RETRIED_STATUSES:
            advice = "check the secret" if status in (401, 403) else "check baseUrl and model"
            raise JudgeMisconfigured(f"{self.base_url}: HTTP {status} for model {self.model!r}: {advice}")

    def _backoff_s(self, attempt: int) -> float:
        """Exponential, with full jitter: threads that failed together do not come back together."""
        return self.random() * min(self.limits.max_wait_s, self.limits.backoff_s * 2.0**attempt)

    def _take_slot(self) -> None:
        """Count one request against the budget, and wait for its turn under the rate limit."""
        with self._lock:
            if self.limits.max_requests is not None and self._num_sent >= self.limits.max_requests:
                raise BadReply("BudgetSpent")
            self._num_sent += 1
            if self.limits.requests_per_minute is None:
                return
            now = self.clock()
            slot = max(now, self._next_slot)
            self._next_slot = slot + 60.0 / self.limits.requests_per_minute
        if slot > now:
            self.sleep(slot - now)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds a `Retry-After` header asks for, given in seconds or as a date (RFC 9110, 10.2.3); None without one.

    A date is measured against the server's own `Date`, so that a wrong clock on either side does no harm.
    """
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        until, now = (email.utils.parsedate_to_datetime(v) for v in (value, headers.get("date", "")))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _text_of(response: httpx.Response) -> str:
    """The message text in a chat completion. Raises `BadReply` when there is none."""
    try:
        text = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise BadReply("Unparsable") from None
    if not isinstance(text, str):
        raise BadReply("Unparsable")
    return text
