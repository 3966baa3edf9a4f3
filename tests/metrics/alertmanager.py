"""A real Alertmanager on this machine, and the receiver that it sends to."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition
from typing import Any

import yaml

from tests.metrics.prometheus_server import free_port
from tests.support.http_servers import serving

Alert = dict[str, Any]


class Receiver(ThreadingHTTPServer):
    """What is woken at night: keeps every alert it was told, with its status, in the order it came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[Alert] = []
        self.news = Condition()

    def told(self, name: str, status: str = "firing") -> list[Alert]:
        """Every message about an alert with this status: firing or resolved."""
        with self.news:
            return [alert for alert in self.heard if (alert["labels"]["alertname"], alert["status"]) == (name, status)]

    def wait_for(self, name: str, status: str, seconds: float) -> Alert:
        """Wait for such a message. Fails with what was heard instead."""
        deadline = time.monotonic() + seconds
        with self.news:
            while not (found := self.told(name, status)):
                if not self.news.wait(deadline - time.monotonic()):
                    heard = [(alert["labels"]["alertname"], alert["status"]) for alert in self.heard]
                    raise AssertionError(f"{name} {status}: not heard within {seconds:.0f} s, but {heard}")
        return found[0]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.news:
            self.server.heard += body["alerts"]
            self.server.news.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output free of requests."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Listen until the block ends."""
    server = Receiver()
    with serving(server):
        yield server


@contextmanager
def alertmanager(folder: Path, to: Receiver) -> Iterator[str]:
    """Run Alertmanager in ``folder``; it passes everything on at once. Yields where it listens."""
    config = {
        "route": {
            "receiver": "test",
            "group_by": ["alertname", "namespace", "run", "monitor"],
            "group_wait": "1s",
            "group_interval": "2s",
        },
        "receivers": [
            {
                "name": "test",
                "webhook_configs": [{"url": f"http://127.0.0.1:{to.server_port}/", "send_resolved": True}],
            }
        ],
    }
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus-alertmanager",
        "--config.file=alertmanager.yaml",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        "--storage.path=data",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)
