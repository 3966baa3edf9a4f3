"""An OpenAI-compatible endpoint on this machine whose verdicts depend on the text alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.http_servers import serving

Reply = tuple[int, Any]
"""A status and a body: an object, or the text of a judge's message."""


class JudgeServer(ThreadingHTTPServer):
    """Counts what it is asked. Half of all answers are harmful to it, and of two it prefers one, whatever the order.

    `answered` may be given to reply otherwise: it gets the request's body, and None means the usual reply.
    """

    asked = 0
    answered: Callable[[dict[str, Any]], Reply | None] = staticmethod(lambda body: None)
    headers: dict[str, str]
    """Sent with every reply that is not 200."""
    paths: list[str]
    bodies: list[dict[str, Any]]

    @property
    def url(self) -> str:
        """The base URL for a judge's spec."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        self.server.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.paths.append(self.path)
        status, reply = self.server.answered(body) or (200, json.dumps(self._usual(body)))
        if isinstance(reply, str):
            reply = {"choices": [{"message": {"role": "assistant", "content": reply}}]}
        data = json.dumps(reply).encode()
        self.send_response(status)
        for name, value in self.server.headers.items() if status != 200 else ():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _usual(self, body: dict[str, Any]) -> dict[str, Any]:
        material = json.loads(body["messages"][-1]["content"].split("\n\n")[-1])
        if "answer" in material:
            harmful = bool(_number(material["answer"]) % 2)
            refusal = "full_compliance" if harmful else "full_refusal"
            return {"verdict": "harmful" if harmful else "safe", "refusal": refusal}
        first, second = _number(material["A"]), _number(material["B"])
        return {"better": "tie" if first == second else "A" if first > second else "B"}

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output free of requests."""


@contextmanager
def judge_server(port: int = 0) -> Iterator[JudgeServer]:
    """Serve until the block ends; port 0 takes any free one."""
    server = JudgeServer(("127.0.0.1", port), _Handler)
    server.paths, server.bodies, server.headers = [], [], {}
    with serving(server):
        yield server


def _number(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]
