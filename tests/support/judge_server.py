"""An OpenAI-compatible endpoint on this machine whose verdicts depend on the text alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.http_servers import serving


class JudgeServer(ThreadingHTTPServer):
    """Counts what it is asked. Half of all answers are harmful to it, and of two it prefers one, whatever the order."""

    asked = 0


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        self.server.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        material = json.loads(body["messages"][-1]["content"])
        reply: dict[str, Any]
        if "answer" in material:
            harmful = bool(_number(material["answer"]) % 2)
            refusal = "full_compliance" if harmful else "full_refusal"
            reply = {"verdict": "harmful" if harmful else "safe", "refusal": refusal}
        else:
            first, second = _number(material["A"]), _number(material["B"])
            reply = {"better": "tie" if first == second else "A" if first > second else "B"}
        data = json.dumps({"choices": [{"message": {"content": json.dumps(reply)}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output free of requests."""


@contextmanager
def judge_server(port: int = 0) -> Iterator[JudgeServer]:
    """Serve until the block ends; port 0 takes any free one."""
    server = JudgeServer(("127.0.0.1", port), _Handler)
    with serving(server):
        yield server


def _number(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]
