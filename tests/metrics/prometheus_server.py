"""A real Prometheus on the loopback device."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.2


class Prometheus:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: Any) -> Any:
        """Data of an API call. Raises AssertionError with Prometheus' own words when it refuses."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}") as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                raise ConnectionError("it is still starting") from None
            raise AssertionError(f"{path} {parameters}: {json.load(error)['error']}") from None

    def query(self, expression: str, **parameters: Any) -> list[dict[str, Any]]:
        """Result of an instant query."""
        result: list[dict[str, Any]] = self.get("query", query=expression, **parameters)["result"]
        return result

    def wait_for(self, expression: str, count: int) -> None:
        """Wait until an expression returns so many series."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                if len(self.query(expression)) >= count:
                    return
            except OSError:
                pass  # it is not listening yet
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{expression} did not return {count} series in {PATIENCE_SECONDS:.0f} s")


class Server:
    """A Prometheus in a folder of its own; stopped and started again, it goes on with what it had."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.api = Prometheus(self._port)
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(dict(config)))

    def start(self) -> None:
        """Start it; `api.wait_for` waits until it answers."""
        command = [
            "prometheus",
            "--config.file=prometheus.yaml",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--storage.tsdb.path=data",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def running(folder: Path, targets: Mapping[int, dict[str, str]], rules: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Run Prometheus in ``folder``; it scrapes each port of ``targets`` every second, with these labels added."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules)))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": f"job-{port}",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": labels}],
            }
            for port, labels in targets.items()
        ],
    }
    server = Server(folder, config)
    server.start()
    try:
        yield server.api
    finally:
        server.stop()
