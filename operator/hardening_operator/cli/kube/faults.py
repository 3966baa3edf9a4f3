"""What a cluster refuses, in words: what was asked, why not, and what to do."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

INSTALL = "install the chart hardening-operator, or name another cluster by --context"
# Who may do what, by the roles the chart makes; the rest comes with the cluster's own role `view`.
CHART_ROLES = {"hardeningruns": "editor", "hardeningmonitors": "editor", "promotionapprovals": "approver"}
READING = ("get", "list", "watch")
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class ClusterFault(Exception):
    """The cluster cannot be used, or refused; the text says why and what to do."""


class NoCluster(ClusterFault):
    """No kubeconfig file names one."""


class Unreachable(ClusterFault):
    """No answer, or one that says "not now"; the same call may work a moment later."""


class NotFound(ClusterFault):
    """There is no such object."""


class Denied(ClusterFault):
    """The caller is not known, or may not do this."""


class NotServed(ClusterFault):
    """The cluster does not know this kind of object."""


class ConflictFault(ClusterFault):
    """An object of that name exists, or was changed meanwhile."""


class Expired(ClusterFault):
    """The version to continue from is too old: read again."""


FAULTS = {401: Denied, 403: Denied, 404: NotFound, 409: ConflictFault, 410: Expired}


@dataclass(frozen=True)
class Request:
    """What was asked, for the words of a refusal."""

    verb: str
    """As RBAC names it: get, list, watch, create, patch."""
    resource: str
    """Plural, with a subresource after a slash."""
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        which = f"{self.resource} {self.name}" if self.name else self.resource
        return f"{self.verb} {which} in namespace {self.namespace}"


def from_answer(request: Request, status: int, body: str) -> ClusterFault:
    """Return the fault that an answer with ``status`` (not 2xx) and ``body`` means."""
    answer = _parsed(body)
    message = answer.get("message") or body.strip() or f"HTTP {status}"
    if status == 404 and not answer:
        return NotServed(f"the cluster does not serve {request.resource}: {INSTALL}")
    if status in TRANSIENT:
        return Unreachable(f"the cluster answers {status}: {message}")
    words = {
        401: "the cluster does not know you (401 Unauthorized): log in again, or use another --context",
        403: _forbidden(request, message),
        404: _not_found(request, message),
    }
    kind = FAULTS.get(status, ClusterFault)
    return kind(words.get(status) or f"cannot {request}: {_causes(answer) or message}")


def from_error(host: str, context: str, error: Exception) -> Unreachable:
    """Return the fault that a broken connection to ``host`` means."""
    of_context = f" of context {context}" if context else ""
    return Unreachable(f"cannot reach the cluster{of_context} at {host}: {_reason(error)}: is it up and the right one?")


def _parsed(body: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _forbidden(request: Request, message: str) -> str:
    refused = re.search(r'User "([^"]*)" cannot ', message)
    if refused is None:
        return f"cannot {request}: {message}"  # an admission policy, a quota: its own words say more
    plural = request.resource.partition("/")[0]
    role = "viewer" if request.verb in READING else CHART_ROLES.get(plural)
    wanted = f"the chart's ClusterRole ...-{role}" if plural in CHART_ROLES else "the ClusterRole view"
    where = f"in namespace {request.namespace}"
    return f"cannot {request.verb} {request.resource} {where} as {refused[1]}: ask for {wanted}"


def _not_found(request: Request, message: str) -> str:
    if request.resource == "hardeningruns" and request.name:
        return f"no HardeningRun {request.name} in namespace {request.namespace}"
    return f"cannot {request}: {message}"


def _causes(answer: dict[str, Any]) -> str:
    """Return the fields the API server found wrong, one a line; without any, nothing."""
    causes = (answer.get("details") or {}).get("causes") or []
    return "\n".join(f"{cause.get('field') or 'object'}: {cause.get('message', '')}" for cause in causes)


def _reason(error: Exception) -> str:
    """Return the innermost reason of a failed connection: `connection refused`."""
    reason: BaseException = error
    while isinstance(inner := getattr(reason, "reason", None) or reason.__cause__, BaseException):
        reason = inner
    text = " ".join(str(reason).split())
    words = getattr(reason, "strerror", None) or text.rpartition(": ")[2] or type(reason).__name__
    return str(words).strip("()' ").lower()
