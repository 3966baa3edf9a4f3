"""The calls the command line makes to a cluster: plain documents in and out, faults in words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import urllib3
from kubernetes import client, config

from hardening_operator.cli.kube import faults
from hardening_operator.cli.kube.faults import ClusterFault, Request
from hardening_operator.cli.kube.kubeconfig import Place, Where, find

Document = dict[str, Any]
FIELD_MANAGER = "kubectl-hardening"
PATHS = {
    "hardeningruns": "/apis/hardening.dev/v1alpha1",
    "promotionapprovals": "/apis/hardening.dev/v1alpha1",
    "events": "/api/v1",
    "pods": "/api/v1",
}
WRITING = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 15.0
"""How long past its agreed end a watch may stay silent before its connection is taken for dead."""


@dataclass(frozen=True)
class Call:
    """One HTTP request."""

    asked: Request
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Document | None = None
    content: str = "application/json"
    seconds: float | None = ANSWER_SECONDS
    """The longest silence; None for any."""


def connect(where: Where) -> Cluster:
    """Return the cluster that ``where`` and the environment mean. Nothing is asked of it yet.

    Raises:
        ClusterFault: the kubeconfig files do not say how to reach it.
    """
    place = find(where, os.environ)
    settings = client.Configuration()
    settings.retries = False
    try:
        if place.files:
            config.load_kube_config(place.files, place.context, settings)  # type: ignore[no-untyped-call]
        else:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException as fault:
        raise ClusterFault(f"context {place.context}: {fault}: repair {place.files}") from None
    return Cluster(client.ApiClient(settings), place, where)


class Cluster:
    """One namespace of one cluster, as its caller may see it. Every call may raise ClusterFault."""

    def __init__(self, api: client.ApiClient, place: Place, where: Where) -> None:
        self._api, self._place, self._where = api, place, where
        self.namespace = place.namespace
        self.options = where.as_options(place.namespace)
        """Options that lead a command shown to a person to the same namespace."""

    def in_namespace(self, namespace: str) -> Cluster:
        """Return another namespace of the same cluster."""
        return Cluster(self._api, replace(self._place, namespace=namespace), self._where)

    def get(self, resource: str, name: str) -> Document:
        """Return one object."""
        return self._document(self._call("GET", Request("get", resource, self.namespace, name)))

    def list(self, resource: str, **query: str) -> list[Document]:
        """Return the objects of a kind; ``query`` has labelSelector or fieldSelector."""
        found = self._document(self._call("GET", Request("list", resource, self.namespace), query=query))
        return list(found.get("items", []))

    def create(self, resource: str, document: Document) -> Document:
        """Create an object, and return it as stored."""
        asked = Request("create", resource, self.namespace)
        return self._document(self._call("POST", asked, query=WRITING, body=document))

    def merge(self, resource: str, name: str, change: Document) -> Document:
        """Change fields of an object."""
        asked = Request("patch", resource, self.namespace, name)
        content = "application/merge-patch+json"
        return self._document(self._call("PATCH", asked, query=WRITING, body=change, content=content))

    def apply(self, resource: str, document: Document) -> Document:
        """Make an object be as ``document`` says, whether it exists or not."""
        asked = Request("patch", resource, self.namespace, document["metadata"]["name"])
        query, content = {**WRITING, "force": "true"}, "application/apply-patch+yaml"
        return self._document(self._call("PATCH", asked, query=query, body=document, content=content))

    def caller(self) -> str:
        """Return who the cluster takes the caller for."""
        asked = Request("create", "selfsubjectreviews", self.namespace)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        return str(self._document(Call(asked, "POST", path, body=body))["status"]["userInfo"]["username"])

    def watch(self, resource: str, name: str, version: str, seconds: float) -> Iterator[Document]:
        """Yield what happens to one object after ``version``, for at most ``seconds``: {type, object}."""
        asked = Request("watch", resource, self.namespace)
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, round(seconds))),
            "allowWatchBookmarks": "true",
        }
        for line in self._lines(self._call("GET", asked, query=query, seconds=seconds + SILENCE_SECONDS)):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise faults.from_answer(asked, int(event["object"].get("code", 500)), json.dumps(event["object"]))
            yield event

    def log(self, pod: str, container: str, follow: bool, tail: int | None) -> Iterator[str]:
        """Yield the lines of a container's log; with ``follow``, until it ends."""
        asked = Request("get", "pods/log", self.namespace, pod)
        query = {"container": container, "follow": "true" if follow else "false"}
        if tail is not None:
            query["tailLines"] = str(tail)
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        for line in self._lines(Call(asked, "GET", path, query, seconds=None if follow else ANSWER_SECONDS)):
            yield line.decode("utf-8", "replace")

    def _call(self, method: str, asked: Request, **more: Any) -> Call:
        path = f"{PATHS[asked.resource]}/namespaces/{self.namespace}/{asked.resource}"
        return Call(asked, method, f"{path}/{asked.name}" if asked.name else path, **more)

    def _document(self, call: Call) -> Document:
        with self._in_words():
            document: Document = json.loads(self._send(call).data)
        return document

    def _lines(self, call: Call) -> Iterator[bytes]:
        """Yield the lines of an answer as they come, also a last one without an end."""
        rest = b""
        with self._in_words():
            response = self._send(call)
            try:
                for part in response.stream(amt=None, decode_content=False):
                    *lines, rest = (rest + part).split(b"\n")
                    yield from lines
            finally:
                response.close()
        if rest:
            yield rest

    def _send(self, call: Call) -> urllib3.BaseHTTPResponse:
        method, url, headers, body, _ = self._api.param_serialize(
            call.method,
            call.path,
            query_params=list(call.query.items()),
            header_params={"Accept": "application/json, */*", "Content-Type": call.content},
            body=call.body,
            auth_settings=["BearerToken"],
        )
        patience = (CONNECT_SECONDS, call.seconds)
        response: urllib3.BaseHTTPResponse = self._api.call_api(
            method, url, headers, body, _request_timeout=patience
        ).response
        if not 200 <= response.status <= 299:
            raise faults.from_answer(call.asked, response.status, response.data.decode("utf-8", "replace"))
        return response

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (urllib3.exceptions.HTTPError, client.ApiException, OSError) as error:
            raise faults.from_error(self._api.configuration.host, self._place.context, error) from None
