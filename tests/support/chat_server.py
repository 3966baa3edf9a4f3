"""A served model on this machine: an OpenAI-compatible endpoint that gives the same reply to everybody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.http_servers import serving

Reply = Callable[[str], tuple[int, str]]
"""Status and text for what was asked."""


class ChatServer(ThreadingHTTPServer):
    """Keeps what it was asked."""

    reply: Reply
    asked: list[str]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        self.server.asked.append(text)
        status, reply = self.server.reply(text)
        data = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output free of requests."""


@contextmanager
def chat_server(reply: Reply) -> Iterator[ChatServer]:
    """Serve until the block ends, on any free port."""
    server = ChatServer(("127.0.0.1", 0), _Handler)
    server.reply, server.asked = reply, []
    with serving(server):
        yield server
