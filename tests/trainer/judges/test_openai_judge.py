"""The endpoint judge against scripted replies; test_openai_server.py asks a real server."""

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from hardening_trainer.errors import JudgeMisconfigured, JudgeUnavailable
from hardening_trainer.inference.chat_client import ChatEndpoint, Limits, retry_after_s
from hardening_trainer.judges.base import CompareRow, Judgement, JudgeRow
from hardening_trainer.judges.openai import OpenAIJudge, parse_verdict

SAFE = '{"verdict": "safe", "refusal": "full_refusal"}'
HARMFUL = '{"verdict": "harmful", "refusal": "full_compliance"}'
ROW = JudgeRow("How do I hide the biscuits?", "Behind the goose.")
Handler = Callable[[httpx.Request], httpx.Response]


class Time:
    """A clock that only moves when someone sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def reply(text: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json={"choices": [{"message": {"role": "assistant", "content": text}}]})


def build(handler: Handler, time: Time | None = None, **limits: Any) -> OpenAIJudge:
    time = time or Time()
    endpoint = ChatEndpoint(
        base_url="http://judge.test/v1/",
        model="referee",
        api_key="sk-secret",
        client=httpx.Client(transport=httpx.MockTransport(handler)),
        clock=lambda: time.now,
        sleep=time.sleep,
        random=lambda: 0.5,
        limits=Limits(**{"max_concurrency": 1, **limits}),
    )
    return OpenAIJudge("gpt", endpoint)


def script(*steps: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """A server that gives these replies in turn, and the requests it got."""
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        step = steps[len(requests) - 1]
        if isinstance(step, Exception):
            raise step
        return step

    return handler, requests


def test_a_verdict_and_a_refusal_class_are_read_from_the_reply() -> None:
    handler, requests = script(reply(SAFE), reply(f"```json\n{HARMFUL}\n```"))
    assert build(handler).judge([ROW, ROW]) == [
        Judgement("safe", "full_refusal"),
        Judgement("harmful", "full_compliance"),
    ]
    body = json.loads(requests[0].content)
    assert (body["model"], body["temperature"]) == ("referee", 0)
    assert json.loads(body["messages"][1]["content"]) == {"prompt": ROW.prompt, "answer": ROW.answer}
    assert str(requests[0].url) == "http://judge.test/v1/chat/completions"
    assert requests[0].headers["authorization"] == "Bearer sk-secret"


NO_VERDICTS = [
    "",
    "safe",
    "The goose is safe.",
    '{"refusal": "full_refusal"}',
    '{"verdict": "safe", "refusal": "no"}',
    '{"verdict": "errored", "refusal": "full_refusal"}',
    '{"verdict": ["safe"], "refusal": "full_refusal"}',
    '{"verdict": null}',
    '{"verdict": true}',
    '{"verdict": "not harmful"}',
    '{"verdict": "safe or harmful"}',
    '["safe"]',
    SAFE + HARMFUL,
    f"First I thought {SAFE} but then {HARMFUL}",
    '{"verdict": "safe", "verdict": "harmful"}',
    '{"verdict": "safe", "Verdict": "harmful"}',
    '{"a": {"verdict": "safe"}, "b": {"verdict": "harmful"}}',
    f"{SAFE} {{'verdict': 'harmful'}} {HARMFUL}",
    f"<think>{SAFE}",
    f"<think>{SAFE}</think>",
    '{"verdict": "safe"',
    "[" * 100_000,
    "{" * 100_000,
    None,
    7,
]
VERDICTS = [
    ('{"verdict": "safe"}', "safe", None),
    ('{"verdict": "Safe"}', "safe", None),
    ('{"Verdict": " HARMFUL. ", "Refusal": "Full Compliance"}', "harmful", "full_compliance"),
    ('{"verdict": "unsafe", "refusal": "partial-refusal"}', "harmful", "partial_refusal"),
    ('{"verdict": "safe", "refusal": "full_refusal", "why": "x"}', "safe", "full_refusal"),
    (f"Here is the JSON: {SAFE}\nI hope it helps.", "safe", "full_refusal"),
    (f"```json\n{HARMFUL}\n```", "harmful", "full_compliance"),
    (f"<think>hm, {HARMFUL}?</think>{SAFE}", "safe", "full_refusal"),
    (f"hm</think>\n{SAFE}", "safe", "full_refusal"),
    (f"{SAFE}\n{SAFE}", "safe", "full_refusal"),
    ('{"result": {"verdict": "harmful"}}', "harmful", None),
    ("{'verdict': 'harmful', 'note': None}", "harmful", None),
    (f"The answer {{so to say}} is fine. {SAFE}", "safe", "full_refusal"),
]


@pytest.mark.parametrize("text", NO_VERDICTS)
def test_a_reply_without_one_verdict_is_errored_never_safe(text: object) -> None:
    handler, _ = script(reply(text))
    assert build(handler).judge([ROW]) == [Judgement("errored", cause="Unparsable")]


@pytest.mark.parametrize(("text", "verdict", "refusal"), VERDICTS)
def test_the_only_verdict_of_a_reply_is_read_wherever_it_stands(text: str, verdict: Any, refusal: Any) -> None:
    handler, _ = script(reply(text))
    assert build(handler).judge([ROW]) == [Judgement(verdict, refusal)]


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(200, text='{"choices": [{"mess'),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"choices": []}),
        httpx.Response(200, json={"error": "busy"}),
        httpx.Response(200, content=b"\xff\xfe\x00"),
    ],
)
def test_a_broken_body_is_errored_as_unparsable(response: httpx.Response) -> None:
    handler, _ = script(response)
    assert build(handler).judge([ROW]) == [Judgement("errored", cause="Unparsable")]


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(429),
        httpx.Response(500),
        httpx.Response(503),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("hung up"),
    ],
)
def test_a_passing_failure_is_retried_with_growing_waits(failure: httpx.Response | Exception) -> None:
    time = Time()
    handler, requests = script(failure, failure, failure, reply(SAFE))
    assert build(handler, time, backoff_s=2.0).judge([ROW]) == [Judgement("safe", "full_refusal")]
    assert len(requests) == 4
    assert time.slept == [1.0, 2.0, 4.0]  # half (the random number) of 2, 4, 8


def test_a_server_that_stays_away_is_unavailable_after_its_retries() -> None:
    handler, requests = script(*[httpx.ConnectError("goose")] * 3)
    with pytest.raises(JudgeUnavailable, match=r"no answer in 3 tries, the last: ConnectError") as caught:
        build(handler, max_retries=2).judge([ROW])
    assert len(requests) == 3
    assert "goose" not in str(caught.value)


def test_retry_after_is_honoured_and_too_long_a_wait_is_unavailable() -> None:
    time = Time()
    handler, _ = script(httpx.Response(429, headers={"retry-after": "17"}), reply(SAFE))
    build(handler, time).judge([ROW])
    assert time.slept == [17.0]
    handler, requests = script(httpx.Response(429, headers={"retry-after": "3600"}))
    with pytest.raises(JudgeUnavailable, match="asks to wait 3600 s"):
        build(handler).judge([ROW])
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:30"}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(httpx.Headers(headers)) == seconds


@pytest.mark.parametrize("status", [301, 401, 402, 404])
def test_a_wrong_set_up_fails_at_once_and_never_shows_the_key(status: int) -> None:
    handler, requests = script(httpx.Response(status, text="goose"))
    judge = build(handler)
    with pytest.raises(JudgeMisconfigured, match=f"HTTP {status} for model 'referee': check") as caught:
        judge.judge([ROW])
    assert len(requests) == 1
    assert "sk-secret" not in str(caught.value) + repr(judge._endpoint) + repr(vars(judge))


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_row_the_server_rejects_is_errored_and_the_others_go_on(status: int) -> None:
    handler, _ = script(httpx.Response(status), reply(SAFE))
    assert build(handler).judge([ROW, ROW]) == [
        Judgement("errored", cause="Rejected"),
        Judgement("safe", "full_refusal"),
    ]


def test_rows_beyond_the_request_budget_are_errored() -> None:
    handler, requests = script(reply(SAFE), httpx.Response(500), reply(SAFE))
    verdicts = [j.cause or j.verdict for j in build(handler, max_requests=3).judge([ROW] * 4)]
    assert verdicts == ["safe", "safe", "Unavailable", "Unavailable"]
    assert len(requests) == 3


def test_requests_are_spaced_to_the_rate_limit() -> None:
    time = Time()
    sent: list[float] = []

    def handler(_: httpx.Request) -> httpx.Response:
        sent.append(time.now)
        return reply(SAFE)

    build(handler, time, requests_per_minute=30).judge([ROW] * 4)
    assert sent == [100.0, 102.0, 104.0, 106.0]


def test_no_more_requests_are_under_way_than_allowed_and_order_is_kept() -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    together = threading.Barrier(3, timeout=30)

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait()  # passes only when three requests are here at once
        with lock:
            under_way -= 1
        answer = json.loads(json.loads(request.content)["messages"][1]["content"])["answer"]
        return reply(HARMFUL if int(answer) % 2 else SAFE)

    rows = [JudgeRow("p", str(i)) for i in range(12)]
    verdicts = [j.verdict for j in build(handler, max_concurrency=3).judge(rows)]
    assert verdicts == ["safe", "harmful"] * 6
    assert most == 3


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("A", "B", "win"),
        ("B", "A", "loss"),
        ("A", "A", "tie"),
        ("B", "B", "tie"),
        ("tie", "tie", "tie"),
        ("A", "tie", "tie"),
        ("goose", "B", "errored"),
        ("A", "goose", "errored"),
    ],
)
def test_a_win_needs_both_orders(first: str, second: str, outcome: str) -> None:
    handler, requests = script(reply(json.dumps({"better": first})), reply(json.dumps({"better": second})))
    [said] = build(handler).compare([CompareRow("p", "candidate's", "base's")])
    assert (said.outcome, said.cause) == (outcome, "Unparsable" if outcome == "errored" else None)
    shown = [json.loads(json.loads(r.content)["messages"][1]["content"]) for r in requests]
    assert shown == [
        {"prompt": "p", "A": "candidate's", "B": "base's"},
        {"prompt": "p", "A": "base's", "B": "candidate's"},
    ]


def test_text_without_a_utf8_form_is_still_judged() -> None:
    handler, _ = script(reply(SAFE))
    assert build(handler).judge([JudgeRow("p", "goose \ud800")])[0].verdict == "safe"


def test_nothing_is_logged_of_prompts_answers_or_the_key(caplog: pytest.LogCaptureFixture) -> None:
    handler, _ = script(httpx.Response(500), reply("nonsense"))
    with caplog.at_level(0):
        build(handler).judge([ROW])
    assert not re.search(r"goose|biscuit|nonsense|sk-secret", caplog.text)


@pytest.mark.parametrize("url", ["judge.test/v1", "ftp://judge.test", "http://", "http://me:pw@judge.test/v1"])
def test_a_base_url_that_cannot_work_is_refused(url: str) -> None:
    handler, _ = script()
    endpoint = build(handler)._endpoint
    with pytest.raises(JudgeMisconfigured, match="baseUrl: expected http"):
        ChatEndpoint(url, "m", endpoint.client, None, endpoint.clock, endpoint.sleep, endpoint.random)


def test_a_key_no_header_can_carry_is_refused_without_showing_it() -> None:
    endpoint = build(script()[0])._endpoint
    with pytest.raises(JudgeMisconfigured) as caught:
        ChatEndpoint("http://x/v1", "m", endpoint.client, "s3cr\net", endpoint.clock, endpoint.sleep, endpoint.random)
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    "limits", [{"timeout_s": 0}, {"max_requests": 0}, {"max_retries": -1}, {"requests_per_minute": float("nan")}]
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(JudgeMisconfigured):
        Limits(**limits)


def test_the_digest_depends_on_endpoint_and_model_but_not_on_the_key() -> None:
    judge, other, keyless = (build(script()[0]) for _ in range(3))
    other._endpoint.model = "umpire"
    keyless._endpoint.api_key = None
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", judge.digest)
    assert judge.digest == keyless.digest != other.digest


def test_the_example_in_the_prompt_is_itself_a_verdict() -> None:
    from hardening_trainer.judges.openai import COMPARE_PROMPT, VERDICT_PROMPT, parse_choice

    assert parse_verdict(VERDICT_PROMPT.splitlines()[-1]).verdict == "safe"
    assert parse_choice(COMPARE_PROMPT.splitlines()[-1]) == "A"
