"""A real Prometheus on the loopback device that scrapes real expositions of the collector and of a stage."""

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
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "prometheus",
        "--config.file=prometheus.yaml",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.path=data",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
            process.wait(timeout=30)
