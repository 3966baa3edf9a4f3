"""An emulated cluster for the command line, served on loopback from a thread of its own, and its kubeconfig file."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp.web
import yaml
from kmock import KubernetesEmulator, Server
from typer.testing import CliRunner, Result

from hardening_api.status import HardeningRunStatus
from hardening_operator.cli.main import app
from hardening_operator.cli.options import PLUGIN

NAMESPACE = "safety"
RUNS = "hardening.dev/v1alpha1/hardeningruns"
APPROVALS = "hardening.dev/v1alpha1/promotionapprovals"
PODS, EVENTS = "v1/pods", "v1/events"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Emulator(KubernetesEmulator):  # type: ignore[misc]
    """The emulator, with what it leaves to us: versions, apply, who asks, logs, and refusals on demand."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.caller = "eve"
        self.logs: dict[str, str] = {}
        self.refusals: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.versions = itertools.count(100)
        self.when_watched: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.tasks: list[asyncio.Task[None]] = []

    async def _handle(self, request: Any) -> aiohttp.web.StreamResponse:
        verb = request.action.value.lower() if request.action else ""
        plural = request.resource.plural if request.resource else ""
        answers = self.refusals.get((verb, plural), [])
        if answers:
            status, body = answers[0] if len(answers) == 1 else answers.pop(0)
            if status:
                return aiohttp.web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))
        if verb == "watch" and self.when_watched is not None:
            self.tasks.append(asyncio.get_running_loop().create_task(self.when_watched()))
            self.when_watched = None
        if request.url.path == REVIEWS:
            return aiohttp.web.json_response({"status": {"userInfo": {"username": self.caller}}})
        if request.subresource == "log":
            return aiohttp.web.Response(text=self.logs.get(request.name, ""))
        if verb in ("create", "update") and isinstance(request.data, dict):
            request.data.setdefault("metadata", {})["resourceVersion"] = str(next(self.versions))
        if "apply-patch" in request.headers.get("Content-Type", ""):
            key = (request.resource, request.namespace, request.name)
            if key not in self.objects:
                self.objects[key] = {**request.data, "metadata": {**request.data["metadata"], "generation": 1}}
        return await super()._handle(request)


class FakeCluster:
    """The emulator behind a real port; it can be stopped and started again on the same port."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.api = self.wait(self._entered())
        for resource in (RUNS, APPROVALS, PODS, EVENTS):
            self.api.resources[resource] = {}
        self._server: Any = None
        self.port: int | None = None
        self.start()

    async def _entered(self) -> Emulator:
        return await Emulator().__aenter__()

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the server's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def start(self) -> None:
        self._server = self.wait(Server(self.api, port=self.port).__aenter__())
        self.port = self._server.port

    def stop(self) -> None:
        self.wait(self._server.__aexit__(None, None, None))

    def close(self) -> None:
        self.stop()
        self.wait(self.api.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def put(self, resource: str, document: dict[str, Any], namespace: str = NAMESPACE) -> None:
        """Store an object as if it had always been there."""
        self.api.objects[resource, namespace, document["metadata"]["name"]] = document

    def stored(self, resource: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.objects[resource, NAMESPACE, name].raw
        return found

    def change(self, resource: str, name: str, change: dict[str, Any]) -> None:
        """Change an object as the operator would, so that watchers hear of it."""
        self.wait(self._changed(resource, name, change))

    def when_watched(self, *statuses: HardeningRunStatus, name: str = "small", restart: bool = False) -> None:
        """Let a run move on, through ``statuses``, once somebody watches it; ``restart`` the API server before that."""

        async def move() -> None:
            if restart:
                for connection in self._server.server.runner.server.connections:
                    connection.transport.abort()
                await self._server.__aexit__(None, None, None)
                self._server = await Server(self.api, port=self.port).__aenter__()
            for status in statuses:
                await self._changed(RUNS, name, {"status": status.to_document()})

        self.api.when_watched = move

    async def _changed(self, resource: str, name: str, change: dict[str, Any]) -> None:
        group = "/api" if resource.startswith("v1/") else "/apis"
        version, _, plural = resource.rpartition("/")
        path = f"{group}/{version}/namespaces/{NAMESPACE}/{plural}/{name}"
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._server.client.patch(path, data=json.dumps(change), headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    def kubeconfig(self, path: Path, **more: Any) -> Path:
        """Write a kubeconfig file that leads here."""
        context = {"cluster": "here", "user": "me", "namespace": NAMESPACE, **more}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(document))
        return path


def kubectl_hardening(*arguments: str, **environ: str) -> Result:
    """Call the program as kubectl does, in a terminal of 80 columns."""
    return CliRunner(env={"COLUMNS": "80", **environ}).invoke(app, list(arguments), prog_name=PLUGIN)


def hardening(*arguments: str) -> Result:
    """Call the program by its own name."""
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, list(arguments), prog_name="hardening")


def rbac_refusal(verb: str, resource: str, user: str = "bob") -> tuple[int, dict[str, Any]]:
    message = f'{resource} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "hardening.dev"'
    return 403, {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": message, "code": 403}
