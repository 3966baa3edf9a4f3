"""A real S3 server on this machine: versitygw over a folder, where the cluster tests have built it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "test-id", "AWS_SECRET_ACCESS_KEY": "test-hush"}


def server_program() -> str | None:
    """The server, on the PATH or in the cluster tests' cache."""
    cache = Path(os.environ.get("HARDENING_CLUSTER_CACHE") or Path.home() / ".cache" / "hardening-cluster")
    built = sorted((cache / "bin").glob("*/versitygw"))
    return shutil.which("versitygw") or (str(built[-1]) if built else None)


@contextmanager
def bucket_server(folder: Path, *buckets: str) -> Iterator[str]:
    """Serve empty buckets under `folder` and give the server's URL; skips the test where there is no server."""
    program = server_program()
    if program is None:
        pytest.skip("no S3 server: versitygw is neither on the PATH nor built by the cluster tests")
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {"ROOT_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]}
    command = [program, "--quiet", "--port", f"127.0.0.1:{port}", "posix", str(folder)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as server:
        try:
            _wait_until_it_listens(server, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(200):
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the S3 server ended with {server.wait(0.05)}")
    pytest.fail("the S3 server did not listen within 10 s")
