"""One OpenAI-compatible chat endpoint, asked patiently: paced, retried, within a budget, in the words it takes.

ask --> budget --> pace --> POST /chat/completions --> 200: the reply's text
                     ^                             |-> refuses a parameter: asked again without it (dialect.py)
                     |                             |-> 400, 403, 413, 422, 451: this row's fault (BadReply, Rejected)
                     |                             |-> other 3xx, 4xx: set up wrongly (JudgeMisconfigured)
                     +---- back off with jitter <--+-> 408, 429, 5xx, no connection, timeout
                                                         |-> retries spent on this row: BadReply, Unavailable
                                                         `-> nobody there, or too busy for all: JudgeUnavailable

One row's failure is that row's. Only when no row at all got a reply is the endpoint itself at fault: see `each`.
"""

import email.utils
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from hardening_api.evaluation import ErroredCause
from hardening_trainer.errors import JudgeMisconfigured, JudgeUnavailable
from hardening_trainer.inference.dialect import Dialect, Message
from hardening_trainer.inference.server_words import server_words

FIRST_ROWS = 20
"""If so many rows fail before any succeeds, the rest would fail as well."""
FAILURES_IN_A_ROW = 10
"""So many rows without a reply, one after the other, and the endpoint has gone away."""

_ROW_STATUSES = frozenset({400, 403, 413, 422, 451})
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})
_MORE_TOKENS = "raise maxTokens if the model thinks before it replies, and check that it follows instructions"
_Row = TypeVar("_Row")
_Result = TypeVar("_Result")


class BadReply(Exception):
    """There is no usable reply for one row: why, and what the server said of it (never the row's own text)."""

    def __init__(self, cause: ErroredCause, said: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.said = said


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
    `extra_body` is sent with every request, beside the fields of the chat protocol.
    """

    base_url: str
    model: str
    client: httpx.Client = field(repr=False)
    api_key: str | None = field(repr=False)
    clock: Callable[[], float] = field(repr=False)
    sleep: Callable[[float], None] = field(repr=False)
    random: Callable[[], float] = field(repr=False)
    limits: Limits = Limits()
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base_url = self.base_url.strip()
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.fragment:
            raise JudgeMisconfigured("baseUrl: expected http(s)://HOST[:PORT]/v1 without user name or password")
        path = url.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
        self._url = url.copy_with(path=f"{path}/chat/completions")
        self.base_url = str(url.copy_with(path=path or "/")).rstrip("/")
        self._shown = str(url.copy_with(path=path or "/", query=None)).rstrip("/")
        if self.api_key is not None:
            self.api_key = self.api_key.strip()
            if not self.api_key.isascii() or not self.api_key.isprintable():
                raise JudgeMisconfigured("api key: holds characters no header can carry: check the secret")
        self._lock = threading.Lock()
        self._num_sent = 0
        self._next_slot = self.clock()
        self._dialect = Dialect()
        self._replied = False
        self._failures: Counter[ErroredCause] = Counter()
        self._succeeded = False
        self._unavailable_in_a_row = 0

    @property
    def adaptations(self) -> list[str]:
        """What this endpoint is asked differently from others, in words that stay the same."""
        return self._dialect.adaptations()

    def each(
        self, work: Callable[[_Row], _Result], rows: Sequence[_Row], failed: Callable[[BadReply], _Result]
    ) -> list[_Result]:
        """Return the result of `work` for each row, or of `failed` for a row whose work raised `BadReply`.

        Raises `JudgeMisconfigured` or `JudgeUnavailable`, with the server's words, when the endpoint never replied to
        any row, when the first 20 rows all failed, or when it stopped to reply.
        """

        def one(row: _Row) -> tuple[_Result, BadReply | None]:
            try:
                result = work(row)
            except BadReply as error:
                self._count(error)
                return failed(error), error
            self._count(None)
            return result, None

        with ThreadPoolExecutor(self.limits.max_concurrency) as pool:
            try:
                done = list(pool.map(one, rows))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        errors = [error for _, error in done if error is not None]
        if errors and len(errors) == len(rows) and not self._replied:
            raise self._verdict_on_endpoint(errors[-1], f"all {len(rows)} rows failed")
        return [result for result, _ in done]

    def _count(self, error: BadReply | None) -> None:
        with self._lock:
            gone = error is not None and error.cause == "Unavailable" and error.said != BUDGET_SPENT
            self._unavailable_in_a_row = self._unavailable_in_a_row + 1 if gone else 0
            if error is None:
                self._succeeded = True
                return
            self._failures[error.cause] += error.said != BUDGET_SPENT
            failed = self._failures.total()
        if not self._succeeded and failed >= FIRST_ROWS:
            raise self._verdict_on_endpoint(error, f"its first {failed} rows failed")
        if self._unavailable_in_a_row >= FAILURES_IN_A_ROW:
            raise self._verdict_on_endpoint(error, f"{FAILURES_IN_A_ROW} rows in a row got no reply")

    def _verdict_on_endpoint(self, error: BadReply, what: str) -> JudgeMisconfigured | JudgeUnavailable:
        said = f": {error.said}" if error.said else ""
        text = f"{self._shown}: model {self.model!r}: {what} ({error.cause}{said})"
        if error.cause == "Unavailable":
            return JudgeUnavailable(text)
        advice = (
            _MORE_TOKENS if error.cause == "Unparsable" else "check baseUrl, model, secret and what it may be asked"
        )
        return JudgeMisconfigured(f"{text}: {advice}")

    def ask(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The text of the model's reply, at temperature 0 where the endpoint takes one.

        Raises `BadReply` for this question alone, `JudgeUnavailable` when nobody is there, `JudgeMisconfigured`.
        """
        last, attempt = BadReply("Unavailable"), 0
        while attempt <= self.limits.max_retries:
            self._take_slot()
            dialect, wait_s = self._dialect, None
            try:
                response = self._post(dialect.body(self.model, messages, max_tokens, self.extra_body))
            except httpx.TransportError as error:
                last = BadReply("Unavailable", type(error).__name__)
            except httpx.RequestError:
                raise BadReply("Unparsable") from None
            else:
                if response.is_success:
                    self._replied = True
                    return _text_of(response)
                if self._adapt(dialect, response):
                    continue
                last = BadReply("Unavailable", self._words(response, messages))
                self._check_status(response.status_code, last.said)
                wait_s = retry_after_s(response.headers)
            if wait_s is not None and wait_s > self.limits.max_wait_s:
                raise JudgeUnavailable(f"{self._shown}: {last.said}, asks to wait {wait_s:.0f} s: try later")
            if attempt < self.limits.max_retries:
                self.sleep(wait_s or self._backoff_s(attempt))
            attempt += 1
        if last.said.startswith(("ConnectError", "ConnectTimeout", "HTTP 429")):
            raise JudgeUnavailable(f"{self._shown}: no answer in {attempt} tries, the last: {last.said}")
        raise BadReply("Unavailable", f"no answer in {attempt} tries, the last: {last.said}")

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        if self.api_key and "api-version" in self._url.params:
            headers["api-key"] = self.api_key  # where Azure looks for it
        return self.client.post(self._url, json=body, headers=headers, timeout=self.limits.timeout_s)

    def _adapt(self, dialect: Dialect, response: httpx.Response) -> bool:
        """Whether to ask again at once, in other words. An endpoint that has replied before keeps to its words."""
        with self._lock:
            if self._dialect != dialect:
                return True  # another thread has learnt it meanwhile
            if self._replied or response.status_code in (401, 404, 429):
                return False
            learnt = dialect.after(response.text, self.extra_body)
            if learnt is None:
                return False
            self._dialect = learnt
            return True

    def _words(self, response: httpx.Response, messages: Sequence[Message]) -> str:
        said = server_words(
            response.text, [message["content"] for message in messages if message["role"] == "user"], self.api_key
        )
        return f"HTTP {response.status_code}" + (f": {said}" if said else "")

    def _check_status(self, status: int, said: str) -> None:
        """Raise for a status that a retry cannot change."""
        if status in _ROW_STATUSES:
            raise BadReply("Rejected", said)
        if status < 500 and status not in _RETRIED_STATUSES:
            advice = "check the secret" if status == 401 else "check baseUrl and model"
            raise JudgeMisconfigured(f"{self._shown}: {said} for model {self.model!r}: {advice}")

    def _backoff_s(self, attempt: int) -> float:
        """Exponential, with full jitter: threads that failed together do not come back together."""
        return self.random() * min(self.limits.max_wait_s, self.limits.backoff_s * 2.0**attempt)

    def _take_slot(self) -> None:
        """Count one request against the budget, and wait for its turn under the rate limit."""
        with self._lock:
            if self.limits.max_requests is not None and self._num_sent >= self.limits.max_requests:
                raise BadReply("Unavailable", BUDGET_SPENT)
            self._num_sent += 1
            if self.limits.requests_per_minute is None:
                return
            now = self.clock()
            slot = max(now, self._next_slot)
            self._next_slot = slot + 60.0 / self.limits.requests_per_minute
        if slot > now:
            self.sleep(slot - now)


BUDGET_SPENT = "maxRequests is spent"


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` asks for, the latter in seconds (fractions too) or as a date.

    A date (RFC 9110, 10.2.3) is measured against the server's own `Date`, so that a wrong clock on either side does no
    harm. None without either.
    """
    value = headers.get("retry-after", "").strip()
    for text, unit in ((headers.get("retry-after-ms", ""), 0.001), (value, 1.0)):
        seconds = _number(text)
        if seconds is not None:
            return seconds * unit
    try:
        until, now = (email.utils.parsedate_to_datetime(v) for v in (value, headers.get("date", "")))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _text_of(response: httpx.Response) -> str:
    """The message text in a chat completion: its content, text parts joined, or the words of its refusal field.

    Raises `BadReply` when there is none: `Rejected` where a filter took it out, else `Unparsable`.
    """
    try:
        choice = response.json()["choices"][0]
        message = choice["message"]
        text = message.get("content")
        if isinstance(text, list):
            text = "".join(part["text"] for part in text if part.get("type") in ("text", "output_text"))
        if not text and isinstance(message.get("refusal"), str):
            text = message["refusal"]
        finish = choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadReply("Unparsable") from None
    if not text and finish == "content_filter":
        raise BadReply("Rejected", "content_filter")
    if not isinstance(text, str):
        raise BadReply(
            "Unparsable", "no text in the reply" + (", it stopped at maxTokens" if finish == "length" else "")
        )
    return text
