"""An API server in memory, over real HTTP: kmock's, with what the operator relies on and kmock leaves out.

Resource versions and their conflicts, JSON patches with `test`, server-side apply, the status subresource, generations,
uids, label selectors of watches, foreground deletion, and deletion of what a deleted object owns. No controllers: the
test plays the Job controller and the kubelet.
"""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import aiohttp.web
import attrs
from kmock import KubernetesEmulator, resource
from kmock._internal import enums, rendering

PLURALS = {
    "hardening.dev/v1alpha1": ("hardeningruns", "hardeningmonitors", "promotionapprovals"),
    "batch/v1": ("jobs",),
    "v1": ("pods", "configmaps", "services", "persistentvolumeclaims", "events", "namespaces"),
    "networking.k8s.io/v1": ("networkpolicies",),
    "coordination.k8s.io/v1": ("leases",),
    "apiextensions.k8s.io/v1": ("customresourcedefinitions",),
}
"""By version, among them the two kinds that kopf looks for before it does anything."""
KINDS = {
    "hardeningruns": "HardeningRun",
    "hardeningmonitors": "HardeningMonitor",
    "promotionapprovals": "PromotionApproval",
    "jobs": "Job",
    "pods": "Pod",
    "leases": "Lease",
}
EXPECTED = ("uid", "resourceVersion")
"""What an apply may ask of the object it changes."""
Place = tuple[str, str, str]
"""Plural, namespace, name."""


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@attrs.define(kw_only=True)
class ApiServer(KubernetesEmulator):
    """The server; `objects_of` and `put` are the test's way in, past HTTP."""

    clock: Callable[[], datetime]
    stored: dict[Place, dict[str, Any]] = attrs.field(factory=dict, init=False)
    log: list[tuple[int, str, str, dict[str, Any]]] = attrs.field(factory=list, init=False)
    """Version, plural, event type and object of every change, for watches."""
    calls: list[tuple[str, str, str]] = attrs.field(factory=list, init=False)
    """Method, plural and name of every request but lists and watches."""
    lists: list[str] = attrs.field(factory=list, init=False)
    """Plural of every list."""
    failures: list[tuple[str, str, int]] = attrs.field(factory=list, init=False)
    """Method, plural and status of requests to refuse, each once, before they do anything."""
    refusals: dict[str, tuple[int, str]] = attrs.field(factory=dict, init=False)
    """By plural: status and words with which every creation is refused, as long as it is here."""
    after: list[tuple[str, str]] = attrs.field(factory=list, init=False)
    """Method and plural of requests to do, and then not to answer, each once."""
    forgotten: int = attrs.field(default=0, init=False)
    """Watches from before this version are told 410 Gone."""
    changed: asyncio.Condition = attrs.field(factory=asyncio.Condition, init=False)
    cut: int = attrs.field(default=0, init=False)

    def objects_of(self, plural: str) -> list[dict[str, Any]]:
        return [document for (kind, _, _), document in sorted(self.stored.items()) if kind == plural]

    def get_one(self, plural: str, name: str, namespace: str = "ns") -> dict[str, Any]:
        return self.stored[plural, namespace, name]

    def names(self, plural: str) -> list[str]:
        return [document["metadata"]["name"] for document in self.objects_of(plural)]

    async def put(self, plural: str, document: dict[str, Any], event: str = "MODIFIED") -> dict[str, Any]:
        """Store a document as the newest version, and tell the watches."""
        metadata = document["metadata"]
        version = len(self.log) + 1
        metadata["resourceVersion"] = str(version)
        self.stored[plural, metadata["namespace"], metadata["name"]] = document
        await self._tell(plural, event, document)
        return document

    async def create_object(self, plural: str, document: dict[str, Any]) -> dict[str, Any]:
        made = copy.deepcopy(document)
        metadata = made["metadata"]
        if (plural, metadata["namespace"], metadata["name"]) in self.stored:
            raise Refused(409, f"{plural} {metadata['name']} already exists")
        metadata |= {"uid": str(uuid.uuid4()), "generation": 1, "managedFields": [{"manager": "test"}]}
        metadata.setdefault("creationTimestamp", self.clock().strftime("%Y-%m-%dT%H:%M:%SZ"))
        return await self.put(plural, made, "ADDED")

    async def remove(self, plural: str, name: str, namespace: str = "ns") -> None:
        """Take an object away, and all it owns."""
        document = self.stored.pop((plural, namespace, name))
        await self._tell(plural, "DELETED", document)
        uid = document["metadata"]["uid"]
        for (kind, space, other), owned in list(self.stored.items()):
            if any(owner["uid"] == uid for owner in owned["metadata"].get("ownerReferences", [])):
                await self.remove(kind, other, space)

    async def vanish(self, plural: str, name: str, namespace: str = "ns") -> None:
        """Take an object away without a word to the watches."""
        self.stored.pop((plural, namespace, name))

    async def cut_watches(self, forget: bool = False) -> None:
        """End every watch, as a server that is restarted does; with ``forget``, none can go on from where it was."""
        async with self.changed:
            self.cut += 1
            self.forgotten = len(self.log) if forget else self.forgotten
            self.changed.notify_all()

    def statuses_written(self, name: str, plural: str = "hardeningruns") -> int:
        return self.calls.count(("PATCH", f"{plural}/status", name))

    async def _tell(self, plural: str, event: str, document: dict[str, Any]) -> None:
        async with self.changed:
            self.log.append((len(self.log) + 1, plural, event, copy.deepcopy(document)))
            self.changed.notify_all()

    async def _handle(self, request: rendering.Request) -> aiohttp.web.StreamResponse:
        known = request.resource is not None and request.resource.plural is not None
        if not known or request.action == enums.action.WATCH:
            # Discovery and streams are kmock's.
            return await super()._handle(request)
        try:
            return aiohttp.web.json_response(await self._answer(request))
        except Refused as refusal:
            body = {"kind": "Status", "code": refusal.status, "message": refusal.message}
            return aiohttp.web.json_response(body, status=refusal.status)

    async def _answer(self, request: rendering.Request) -> dict[str, Any]:
        assert request.resource is not None
        plural = str(request.resource.plural)
        method = str(request.method.value).upper()
        if request.action == enums.action.LIST:
            return self._list(request, plural)
        shown = f"{plural}/{request.subresource}" if request.subresource else plural
        name = request.name or request.data["metadata"]["name"]
        self.calls.append((method, shown, name))
        for failure in [each for each in self.failures if each[:2] == (method, shown)][:1]:
            self.failures.remove(failure)
            raise Refused(failure[2], f"{shown} refused for the test")
        if method == "POST" and shown in self.refusals:
            raise Refused(*self.refusals[shown])
        done = copy.deepcopy(await self._do(request, method, plural, name))
        if (method, shown) in self.after:
            self.after.remove((method, shown))
            raise Refused(503, "done, but the answer was lost")
        return done

    def _list(self, request: rendering.Request, plural: str) -> dict[str, Any]:
        self.lists.append(plural)
        label = request.params.get("labelSelector", "")
        items = [each for each in self.objects_of(plural) if _selected(each, request.namespace, label)]
        return {"metadata": {"resourceVersion": str(len(self.log))}, "items": copy.deepcopy(items)}

    async def _do(self, request: rendering.Request, method: str, plural: str, name: str) -> dict[str, Any]:
        place = (plural, str(request.namespace), name)
        if method == "POST":
            return await self.create_object(plural, request.data)
        if method == "PATCH" and "apply-patch" in request.headers["Content-Type"]:
            return await self._apply(place, json.loads(request.body))
        if place not in self.stored:
            raise Refused(404, f"{plural} {name} not found")
        if method == "GET":
            return self.stored[place]
        if method == "DELETE":
            return await self._delete(place)
        if method == "PUT":
            return await self._replace(place, request.data)
        return await self._patch(request, place)

    async def _apply(self, place: Place, document: dict[str, Any]) -> dict[str, Any]:
        existing = self.stored.get(place)
        metadata = document["metadata"]
        if existing is None:
            if "uid" in metadata or "resourceVersion" in metadata:
                raise Refused(409, "the object to be changed is not there")
            return await self.create_object(place[0], document)
        if any(metadata.get(name, existing["metadata"][name]) != existing["metadata"][name] for name in EXPECTED):
            raise Refused(409, "the object has been modified")
        merged = _merged(copy.deepcopy(existing), document)
        return existing if merged == existing else await self.put(place[0], merged)

    async def _delete(self, place: Place) -> dict[str, Any]:
        """Foreground: the object stays, marked, until the test lets it go."""
        document = copy.deepcopy(self.stored[place])
        if "deletionTimestamp" not in document["metadata"]:
            document["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]}
            await self.put(place[0], document)
        return document

    async def _replace(self, place: Place, document: dict[str, Any]) -> dict[str, Any]:
        if document["metadata"]["resourceVersion"] != self.stored[place]["metadata"]["resourceVersion"]:
            raise Refused(409, "the object has been modified")
        return await self.put(place[0], copy.deepcopy(document))

    async def _patch(self, request: rendering.Request, place: Place) -> dict[str, Any]:
        document = copy.deepcopy(self.stored[place])
        if "json-patch" in request.headers["Content-Type"]:
            for operation in json.loads(request.body):
                _operate(document, operation)
        else:
            document = _merged(document, json.loads(request.body))
        if request.subresource is None and document.get("spec") != self.stored[place].get("spec"):
            document["metadata"]["generation"] += 1
        return await self.put(place[0], document)

    async def _serve_watch(self, request: rendering.Request) -> AsyncIterator[rendering.Payload]:
        yield b""
        assert request.resource is not None
        plural, label = str(request.resource.plural), request.params.get("labelSelector", "")
        at, cut = int(request.params.get("resourceVersion") or 0), self.cut
        if at < self.forgotten:
            yield {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
            return
        while self.cut == cut:
            for _, kind, event, document in self.log[at:]:
                if kind == plural and _selected(document, request.namespace, label):
                    yield {"type": event, "object": document}
            at = len(self.log)
            async with self.changed:
                if at == len(self.log) and self.cut == cut:
                    await self.changed.wait()

    def declare(self) -> ApiServer:
        """Make the resources known to discovery."""
        for version, plurals in PLURALS.items():
            group, _, number = version.rpartition("/")
            for plural in plurals:
                self.resources[resource(group, number, plural)] = {
                    "kind": KINDS.get(plural, plural.capitalize()),
                    "namespaced": True,
                    "verbs": {"get", "list", "watch", "create", "patch", "delete"},
                    "subresources": {"status"},
                }
        return self


def _selected(document: dict[str, Any], namespace: str | None, label: str) -> bool:
    metadata = document["metadata"]
    name, _, value = label.partition("=")
    return (namespace is None or metadata["namespace"] == namespace) and (
        not label or metadata.get("labels", {}).get(name) == value
    )


def _merged(into: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    for name, value in change.items():
        into[name] = _merged(into.get(name) or {}, value) if isinstance(value, dict) else copy.deepcopy(value)
    return into


def _operate(document: dict[str, Any], operation: dict[str, Any]) -> None:
    """One operation of a JSON patch on a member of an object."""
    *parents, last = operation["path"].strip("/").split("/")
    place = document
    for name in parents:
        place = place[name]
    if operation["op"] == "test":
        if place.get(last) != operation["value"]:
            raise Refused(422, f"testing value {operation['path']} failed: test failed")
    else:
        place[last] = operation["value"]
