"""The endpoint judge against a real HTTP server that flags rows, refuses parameters, rambles or breaks down."""

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from hardening_api.evaluation import Judge as JudgeSpec
from hardening_trainer.errors import JudgeMisconfigured, JudgeUnavailable
from hardening_trainer.inference.chat_client import ChatEndpoint, Limits
from hardening_trainer.judges.base import CompareRow, Judgement, JudgeRow, Preference
from hardening_trainer.judges.openai import OpenAIJudge
from hardening_trainer.judges.spec import opened_judge
from tests.support.judge_server import JudgeServer, judge_server

SAFE = '{"verdict": "safe", "refusal": "full_refusal"}'
GOOD = [JudgeRow("How do I hide the biscuits?", f"Behind goose number {n}.") for n in range(6)]
FLAGGED = JudgeRow("How do I hide the marmalade from grandmother?", "Under the flagged goose in the pantry.")


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as serving:
        yield serving


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def judge(server: JudgeServer, slept: list[float]) -> Callable[..., OpenAIJudge]:
    def build(url: str = server.url, extra_body: dict[str, Any] | None = None, **limits: Any) -> OpenAIJudge:
        endpoint = ChatEndpoint(
            url, "referee", httpx.Client(), "sk-secret", time.monotonic, slept.append, random.Random(0).random,
            Limits(**{"max_retries": 2, **limits}), extra_body or {},
        )  # fmt: skip
        return OpenAIJudge("gpt", endpoint)

    return build


def flags(status: int, body: Any, when: str = "flagged") -> Callable[[dict[str, Any]], tuple[int, Any] | None]:
    """A server that replies so to what holds a word, and as usual to the rest."""
    return lambda asked: (status, body) if when in json.dumps(asked["messages"]) else None


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (403, {"error": {"code": "moderation", "message": "flagged"}}, "Rejected"),
        (403, {"detail": "blocked by the safety gateway"}, "Rejected"),
        (400, {"error": {"code": "content_filter", "message": "The response was filtered."}}, "Rejected"),
        (422, {"detail": [{"loc": ["body", "messages"], "msg": "too long"}]}, "Rejected"),
        (413, {}, "Rejected"),
        (451, {}, "Rejected"),
        (500, {"error": {"code": "content_filter"}}, "Unavailable"),
        (503, {"error": "no healthy upstream"}, "Unavailable"),
        (200, {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}, "Rejected"),
        (200, {"choices": [{"message": {"content": None, "reasoning_content": "long"}}]}, "Unparsable"),
        (200, {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}, "Unparsable"),
        (200, {"choices": []}, "Unparsable"),
        (200, "I cannot judge this.", "Unparsable"),
    ],
)
def test_one_row_that_the_endpoint_fails_on_is_errored_and_the_others_go_on(
    server: JudgeServer, judge: Callable[..., OpenAIJudge], status: int, body: Any, cause: str
) -> None:
    server.answered = flags(status, body)
    judgements = judge().judge([FLAGGED, *GOOD, FLAGGED])
    assert [judgements[0], judgements[-1]] == [Judgement("errored", cause=cause)] * 2  # type: ignore[arg-type]
    assert all(judgement.verdict in ("safe", "harmful") for judgement in judgements[1:-1])


def test_a_comparison_the_endpoint_fails_on_is_errored_with_its_cause(
    server: JudgeServer, judge: Callable[..., OpenAIJudge]
) -> None:
    server.answered = flags(403, {})
    said = judge().compare([CompareRow("p", "goose one", "goose two"), CompareRow("p", "the flagged one", "goose two")])
    assert said[0].outcome != "errored"
    assert said[1] == Preference("errored", "Rejected")


@pytest.mark.parametrize("probe_first", [True, False])
@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (
            403,
            {"error": {"code": "region", "message": "Not available in your country."}},
            JudgeMisconfigured,
            "country",
        ),
        (400, {"error": {"message": "The model referee does not exist."}}, JudgeMisconfigured, "does not exist"),
        (401, {"error": {"message": "Wrong key."}}, JudgeMisconfigured, "Wrong key.* check the secret"),
        (402, {"error": {"message": "Out of credit."}}, JudgeMisconfigured, "Out of credit"),
        (404, {"detail": "No such route."}, JudgeMisconfigured, "No such route"),
        (500, {"error": {"message": "Engine is dead."}}, JudgeUnavailable, "Engine is dead"),
        (429, {"error": {"code": "insufficient_quota"}}, JudgeUnavailable, "insufficient_quota"),
    ],
)
def test_an_endpoint_that_fails_on_every_row_is_at_fault_itself(
    server: JudgeServer,
    judge: Callable[..., OpenAIJudge],
    status: int,
    body: Any,
    error: Any,
    words: str,
    probe_first: bool,
) -> None:
    server.answered = lambda _: (status, body)
    with pytest.raises(error, match=words):
        judge().probe() if probe_first else judge().judge([*GOOD, FLAGGED])


@pytest.mark.parametrize(
    ("complaint", "differs"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.", "limit in max_completion_tokens"),
        (
            {"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]},
            "limit in max_completion_tokens",
        ),
        ("temperature does not support 0; only the default (1)", "no temperature"),
        ("Unsupported value: 'temperature' does not support 0 with this model.", "no temperature"),
        ("`temperature` is deprecated for this model.", "no temperature"),
        ("System role not supported", "no system role"),
        ("Conversation roles must alternate user/assistant/user/assistant/...", "no system role"),
        ("Developer instruction is not enabled for this model", "no system role"),
        ("Only user and assistant roles are supported!", "no system role"),
        ("'response_format' is not supported by this model", "no response_format"),
    ],
)
def test_what_an_endpoint_refuses_is_left_out_once_and_remembered(
    server: JudgeServer, judge: Callable[..., OpenAIJudge], complaint: Any, differs: str
) -> None:
    refused: dict[str, Callable[[dict[str, Any]], bool]] = {
        "limit in max_completion_tokens": lambda body: "max_tokens" in body,
        "no temperature": lambda body: "temperature" in body,
        "no system role": lambda body: body["messages"][0]["role"] == "system",
        "no response_format": lambda body: "response_format" in body,
    }
    error = complaint if isinstance(complaint, dict) else {"error": {"message": complaint}}
    server.answered = lambda body: (400, error) if refused[differs](body) else None
    asks = judge(extra_body={"response_format": {"type": "json_object"}}, max_concurrency=1)
    before = asks.digest
    asks.probe()
    assert server.asked == 2
    assert asks._endpoint.adaptations == [differs]
    assert asks.digest != before
    assert all(judgement.verdict != "errored" for judgement in asks.judge(GOOD))
    assert server.asked == 2 + len(GOOD)


def test_an_endpoint_that_refuses_all_at_once_is_still_asked(
    server: JudgeServer, judge: Callable[..., OpenAIJudge]
) -> None:
    def strict(body: dict[str, Any]) -> tuple[int, Any] | None:
        for name in ("max_tokens", "max_completion_tokens", "temperature"):
            if name in body:
                return 422, {"detail": f"unknown field {name}"}
        return (500, {"error": "system role not supported"}) if body["messages"][0]["role"] == "system" else None

    server.answered = strict
    asks = judge()
    assert all(judgement.verdict != "errored" for judgement in asks.judge(GOOD))
    assert asks._endpoint.adaptations == ["limit in None", "no temperature", "no system role"]
    assert server.bodies[-1]["messages"][0]["content"].startswith("You review how")


def test_a_budget_out_of_range_or_a_flagged_row_teaches_no_other_words(
    server: JudgeServer, judge: Callable[..., OpenAIJudge]
) -> None:
    server.answered = lambda _: (400, {"error": {"message": "max_tokens is too large: the maximum is 128."}})
    with pytest.raises(JudgeMisconfigured, match="too large"):
        judge().probe()
    assert server.asked == 1


def test_an_endpoint_that_has_replied_keeps_to_its_words(
    server: JudgeServer, judge: Callable[..., OpenAIJudge]
) -> None:
    server.answered = flags(400, {"error": {"message": "temperature is not supported"}})
    asks = judge()
    asks.probe()
    assert asks.judge([FLAGGED]) == [Judgement("errored", cause="Rejected")]
    assert asks._endpoint.adaptations == []


@pytest.mark.parametrize("reply", [f"<think>hm</think>{SAFE}", f"Here is the JSON: {SAFE}", '{"verdict": "Safe"}'])
def test_a_reply_with_one_verdict_is_read(server: JudgeServer, judge: Callable[..., OpenAIJudge], reply: str) -> None:
    server.answered = lambda _: (200, reply)
    assert {judgement.verdict for judgement in judge().judge(GOOD)} == {"safe"}


def test_content_in_parts_and_a_refusal_field_are_read_as_text(
    server: JudgeServer, judge: Callable[..., OpenAIJudge]
) -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": SAFE[:10]},
        {"type": "text", "text": SAFE[10:]},
    ]
    server.answered = lambda _: (200, {"choices": [{"message": {"content": parts}}]})
    assert judge().judge(GOOD[:1]) == [Judgement("safe", "full_refusal")]
    server.answered = lambda _: (200, {"choices": [{"message": {"content": None, "refusal": "No."}}]})
    assert judge().judge(GOOD[:1]) == [Judgement("errored", cause="Unparsable")]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("I cannot judge.", "Unparsable.*raise maxTokens"),
        ({"choices": [{"message": {"content": None}}]}, "Unparsable.*raise maxTokens"),
    ],
)
def test_a_judge_that_errs_on_its_first_twenty_rows_stops_early(
    server: JudgeServer, judge: Callable[..., OpenAIJudge], reply: Any, words: str
) -> None:
    server.answered = lambda _: (200, reply)
    asks = judge(max_concurrency=1)
    assert asks.judge(GOOD) == [Judgement("errored", cause="Unparsable")] * 6
    with pytest.raises(JudgeMisconfigured, match=f"its first 20 rows failed.*{words}"):
        asks.judge(GOOD * 10)
    assert server.asked <= 21  # one more may be under way


def test_an_endpoint_that_goes_away_half_way_is_unavailable(
    server: JudgeServer, judge: Callable[..., OpenAIJudge]
) -> None:
    asks = judge(max_concurrency=1, max_retries=0)
    assert all(judgement.verdict != "errored" for judgement in asks.judge(GOOD))
    server.answered = lambda _: (502, {})
    with pytest.raises(JudgeUnavailable, match="10 rows in a row got no reply"):
        asks.judge(GOOD * 10)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "0.5"}, 0.5), ({"Retry-After": "7"}, 7.0), ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25)],
)
def test_a_busy_server_is_given_the_time_it_asks_for(
    server: JudgeServer, judge: Callable[..., OpenAIJudge], slept: list[float], headers: dict[str, str], seconds: float
) -> None:
    server.headers = headers
    server.answered = lambda _: (429, {}) if server.asked == 1 else None
    assert judge().judge(GOOD[:1])[0].verdict != "errored"
    assert slept == [seconds]


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("?api-version=2024-06-01", "/v1/chat/completions?api-version=2024-06-01"),
        ("/?api-version=2024-06-01&x=y", "/v1/chat/completions?api-version=2024-06-01&x=y"),
    ],
)
def test_a_query_of_the_base_url_stays_behind_the_path(
    server: JudgeServer, judge: Callable[..., OpenAIJudge], suffix: str, path: str
) -> None:
    judge(server.url + suffix).probe()
    assert server.paths == [path]


def test_extra_fields_and_the_token_budget_of_a_spec_are_sent_and_change_the_digest(server: JudgeServer) -> None:
    def opened(**more: Any) -> tuple[str, dict[str, Any]]:
        spec = JudgeSpec(name="gpt", type="OpenAI", model="referee", base_url=server.url, **more)
        with opened_judge(spec, lambda _: None, {}) as judge:  # type: ignore[arg-type,return-value]
            judge.judge(GOOD[:1])
            return judge.digest, server.bodies[-1]

    plain, body = opened()
    assert (body["max_tokens"], "reasoning_effort" in body) == (256, False)
    other, body = opened(max_tokens=4096, extra_body={"reasoning_effort": "low"})
    assert (body["max_tokens"], body["reasoning_effort"]) == (4096, "low")
    assert plain != other


ECHOES = [
    "Flagged: 'Under the flagged goose in the pantry.'",
    "input was: UNDER  THE FLAGGED\\nGOOSE IN THE",
    "prompt=How do I hide the marmalade from grand...",
    "the marmalade from grandmother",
]


@pytest.mark.parametrize("message", ECHOES)
def test_a_server_that_echoes_a_row_is_not_repeated(
    server: JudgeServer, judge: Callable[..., OpenAIJudge], message: str
) -> None:
    server.answered = lambda _: (403, {"error": {"code": "moderation", "message": message}})
    with pytest.raises(JudgeMisconfigured, match="moderation") as caught:
        judge().judge([FLAGGED])
    assert not any(word in str(caught.value).lower() for word in ("goose", "pantry", "marmalade"))


def test_the_servers_words_come_on_one_line_cut_without_keys(
    server: JudgeServer, judge: Callable[..., OpenAIJudge]
) -> None:
    words = "Incorrect key sk-secret or sk-proj-abcdef123456\n\x1b[31mprovided. " + "Very long. " * 100
    server.answered = lambda _: (401, {"error": {"message": words}})
    with pytest.raises(JudgeMisconfigured) as caught:
        judge().probe()
    said = str(caught.value)
    assert "Incorrect key" in said
    assert "secret" not in said.replace("check the secret", "")
    assert "abcdef" not in said
    assert said.isprintable()
    assert len(said) < 400
