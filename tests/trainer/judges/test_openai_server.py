"""The endpoint judge against a real OpenAI-compatible server: `transformers serve` with a tiny random model."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hardening_trainer.errors import JudgeMisconfigured, JudgeUnavailable
from hardening_trainer.inference.chat_client import ChatEndpoint, Limits
from hardening_trainer.judges.base import CompareRow, Judgement, JudgeRow, Preference
from hardening_trainer.judges.openai import OpenAIJudge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_serving(process: subprocess.Popen[bytes]) -> None:
    """Read what the server prints until it says that it listens; the test's own timeout is the deadline."""
    assert process.stdout is not None
    printed: list[bytes] = []
    for line in process.stdout:
        if b"Uvicorn running" in line:
            return
        printed.append(line)
    pytest.fail(f"the server ended: {b''.join(printed[-20:]).decode(errors='replace')}")


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[str]:
    """The base URL of a running server."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(tiny_model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_until_serving(process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.communicate(timeout=60)


class Counting(httpx.HTTPTransport):
    """The real transport, keeping the bodies it sent and the statuses it got."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.statuses: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.read())
        response = super().handle_request(request)
        self.statuses.append(response.status_code)
        return response


def judge_at(url: str, model: str, transport: httpx.HTTPTransport, **limits: int) -> OpenAIJudge:
    client = httpx.Client(transport=transport)
    endpoint = ChatEndpoint(
        url, model, client, None, time.monotonic, lambda _: None, random.Random(0).random, Limits(**limits)
    )
    return OpenAIJudge("local", endpoint)


def test_a_real_server_that_talks_nonsense_is_errored_and_asked_in_both_orders(server: str, tiny_model: Path) -> None:
    transport = Counting()
    judge = judge_at(server, str(tiny_model), transport, max_concurrency=2)
    assert (
        judge.judge([JudgeRow("bake bread", "yes"), JudgeRow("", "no")])
        == [Judgement("errored", cause="Unparsable")] * 2
    )
    assert judge.compare([CompareRow("bake bread", "a fox", "a dog")]) == [Preference("errored", "Unparsable")]
    assert transport.statuses == [200] * 4
    first, second = (body.decode() for body in transport.bodies[2:])
    assert first.index("a fox") < first.index("a dog")
    assert second.index("a fox") > second.index("a dog")


def test_a_model_the_real_server_does_not_have_is_misconfigured_in_its_own_words(server: str) -> None:
    transport = Counting()
    with pytest.raises(JudgeMisconfigured, match=r"no/such-model.*HTTP 400"):
        judge_at(server, "no/such-model", transport).judge([JudgeRow("bake bread", "yes")])
    assert transport.statuses == [400]


def test_a_path_the_real_server_does_not_serve_is_misconfigured(server: str) -> None:
    with pytest.raises(JudgeMisconfigured, match="HTTP 404"):
        judge_at(server.removesuffix("/v1"), "m", Counting()).judge([JudgeRow("bake bread", "yes")])


def test_a_port_where_nobody_listens_is_unavailable() -> None:
    with pytest.raises(JudgeUnavailable, match="ConnectError"):
        judge_at(f"http://127.0.0.1:{free_port()}/v1", "m", Counting(), max_retries=2).judge([JudgeRow("p", "a")])
