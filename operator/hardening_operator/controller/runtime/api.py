"""The API server, as the reconcilers need it: plain documents in and out, every call with a timeout and retries.

A call that finds the server away, busy (429) or at fault (5xx) is repeated with growing, jittered delays; all calls
made here may be repeated. What is still refused then is raised, and the work queue comes back to it later.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from hardening_api.base import API_VERSION

FIELD_MANAGER = "hardening-operator"
TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=5)
ATTEMPTS = 5
FIRST_DELAY, LONGEST_DELAY = 0.2, 5.0
TOO_MANY, SERVER_ERROR = 429, 500
APPLY, JSON_PATCH, MERGE_PATCH, JSON = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/json",
)
COLLECTIONS = {
    "ConfigMap": ("v1", "configmaps"),
    "Service": ("v1", "services"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Event": ("v1", "events"),
    "Job": ("batch/v1", "jobs"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "HardeningRun": (API_VERSION, "hardeningruns"),
    "HardeningMonitor": (API_VERSION, "hardeningmonitors"),
}

Document = Mapping[str, Any]


class ApiError(Exception):
    """The API server refused a call, or could not be reached (status 0)."""

    expected = True
    """Not a fault of the operator: logged without a traceback."""

    def __init__(self, call: str, status: int, message: str) -> None:
        super().__init__(f"{call}: {status or 'unreachable'}: {message}")
        self.status, self.message = status, message
        self.maybe_done_before = False
        """Whether an earlier try of the call got no answer, and so may have done what this one was refused."""

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status in (0, TOO_MANY) or self.status >= SERVER_ERROR


class Api(Protocol):
    """What reconcilers ask of the API server."""

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None when there is none."""

    async def apply(self, document: Document) -> dict[str, Any]:
        """Apply an object server-side, with our field manager, and return it as it is then.

        With `uid` and `resourceVersion` in its metadata, only to that object at that version; else ApiError 409.
        """

    async def replace_status(
        self, kind: str, namespace: str, name: str, version: str, status: Document
    ) -> dict[str, Any] | None:
        """Store a status if the object is still at ``version``, and return the object; None when it is not."""

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete an object in the foreground: it stays until what it owns is gone. Gone already is fine."""

    async def create(self, document: Document) -> dict[str, Any] | None:
        """Create an object and return it; None when there is one of that name."""

    async def replace(self, document: Document) -> bool:
        """Replace an object by ``document``; False when it is not at the version that names any more."""

    async def merge(self, kind: str, namespace: str, name: str, change: Document) -> None:
        """Merge ``change`` into an object."""

    async def served(self, group_version: str) -> set[str]:
        """Return the plural names of the resources that the API server has in a group's version."""


class KubernetesApi:
    """`Api` over the official client."""

    def __init__(
        self,
        client: ApiClient,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client, self._sleep, self._jitter = client, sleep, jitter

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """See `Api`."""
        try:
            return await self._call("GET", path_of(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def apply(self, document: Document) -> dict[str, Any]:
        """See `Api`."""
        metadata = document["metadata"]
        path = path_of(document["kind"], metadata["namespace"], metadata["name"])
        return await self._call("PATCH", path, document, APPLY, fieldManager=FIELD_MANAGER, force="true")

    async def replace_status(
        self, kind: str, namespace: str, name: str, version: str, status: Document
    ) -> dict[str, Any] | None:
        """See `Api`. Raises ApiError when the object is unchanged and the status itself is refused."""
        operations = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": status},
        ]
        path = f"{path_of(kind, namespace, name)}/status"
        try:
            return await self._call("PATCH", path, operations, JSON_PATCH, fieldManager=FIELD_MANAGER)
        except ApiError as error:
            if error.status not in (404, 409, 422):
                raise
            now = await self.get(kind, namespace, name)
            if now is not None and now["metadata"]["resourceVersion"] == version:
                raise
            # A repeated call finds its own first try already stored; another operator may have decided the same.
            ours = error.maybe_done_before and now is not None and now.get("status") == status
            return now if ours else None

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """See `Api`."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": uid},
        }
        try:
            await self._call("DELETE", path_of(kind, namespace, name), options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def create(self, document: Document) -> dict[str, Any] | None:
        """See `Api`."""
        path = path_of(document["kind"], document["metadata"]["namespace"])
        try:
            return await self._call("POST", path, document, fieldManager=FIELD_MANAGER)
        except ApiError as error:
            if error.status == 409:
                return None
            raise

    async def replace(self, document: Document) -> bool:
        """See `Api`."""
        metadata = document["metadata"]
        try:
            await self._call("PUT", path_of(document["kind"], metadata["namespace"], metadata["name"]), document)
        except ApiError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    async def merge(self, kind: str, namespace: str, name: str, change: Document) -> None:
        """See `Api`."""
        await self._call("PATCH", path_of(kind, namespace, name), change, MERGE_PATCH)

    async def served(self, group_version: str) -> set[str]:
        """See `Api`."""
        try:
            found = await self._call("GET", f"/apis/{group_version}")
        except ApiError as error:
            if error.status == 404:
                return set()
            raise
        return {resource["name"] for resource in found["resources"]}

    async def _call(
        self, method: str, path: str, body: Any = None, content: str = JSON, **query: str
    ) -> dict[str, Any]:
        attempt, unanswered = 1, False
        while True:
            try:
                return await self._call_once(method, path, body, content, query)
            except ApiError as error:
                error.maybe_done_before = unanswered
                if not error.passing or attempt == ATTEMPTS:
                    raise
                unanswered = unanswered or error.status != TOO_MANY
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (attempt - 1))
            await self._sleep(delay * (0.5 + self._jitter()))
            attempt += 1

    async def _call_once(
        self, method: str, path: str, body: Any, content: str, query: Mapping[str, str]
    ) -> dict[str, Any]:
        serialized = await self._client.param_serialize(
            method, path, header_params={"Content-Type": content, "Accept": JSON}, auth_settings=["BearerToken"]
        )
        url = f"{serialized[1]}?{urlencode(query)}" if query else serialized[1]
        call = f"{method} {path}"
        try:
            response = await self._client.call_api(method, url, serialized[2], body, _request_timeout=TIMEOUT)
            data: bytes = await response.response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(call, 0, str(error) or type(error).__name__) from error
        if response.status >= 400:
            raise ApiError(call, response.status, _message(data))
        answer: dict[str, Any] = json.loads(data)
        return answer


def path_of(kind: str, namespace: str, name: str = "") -> str:
    """Return the path of an object, or of its collection."""
    version, plural = COLLECTIONS[kind]
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    path = f"{root}/namespaces/{quote(namespace)}/{plural}"
    return f"{path}/{quote(name)}" if name else path


def _message(data: bytes | None) -> str:
    """Return the words of a Status object, or the first of whatever came instead."""
    try:
        return str(json.loads(data or b"")["message"])
    except (ValueError, KeyError, TypeError):
        return (data or b"").decode(errors="replace")[:200]
