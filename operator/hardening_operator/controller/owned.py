"""Creates the objects of runs and monitors, and never writes to an object that is not theirs.

Creating comes first, never a forced apply: of two who take a name at once the API server lets one have it. Only where
an object exists, and is the owner's by uid and by labels, is it brought up to date, and only at the very version that
was looked at.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from hardening_operator.controller.runtime.api import Api, ApiError
from hardening_operator.planner.names import MANAGED_BY_LABEL, MONITOR_LABEL, RUN_LABEL

T = TypeVar("T")
Document = Mapping[str, Any]
REFUSALS = (400, 403, 405, 413, 415, 422)
"""Statuses of the API server that mean the object, not the moment, is wrong."""
OWNER_LABELS = (MANAGED_BY_LABEL, RUN_LABEL, MONITOR_LABEL)
MOST_RACES = 5
QUOTA = re.compile("exceeded quota|status unknown for quota")
"""The API server's words where a quota has no room now; one that no object of this kind could meet has others."""
CLAIM = "PersistentVolumeClaim"


class RefusedError(Exception):
    """The API server refuses an object whenever it is asked."""


class QuotaExceededError(Exception):
    """A ResourceQuota has no room for an object now."""


class NameTakenError(Exception):
    """An object that is not the owner's has the name that one of its objects must have."""


async def create_owned(api: Api, document: Document) -> Document:
    """Create an object, or bring the owner's own one up to date; return it as it is then.

    The owner is the one that ``document`` names. Its own object may be immutable and refuse what another version of
    the operator would make of it: then it stays as it is.

    Raises NameTakenError, QuotaExceededError, RefusedError, and ApiError when the API server cannot do it now.
    """
    kind, metadata = document["kind"], document["metadata"]
    for _ in range(MOST_RACES):
        made = await _create(api, document)
        if made is not None:
            return made
        existing = await api.get(kind, metadata["namespace"], metadata["name"])
        if existing is None:
            continue
        if not is_own(existing, document) or "deletionTimestamp" in existing["metadata"]:
            raise NameTakenError(_taken(existing, document))
        try:
            return await api.apply(_at_version_of(existing, document))
        except ApiError as error:
            if error.status in REFUSALS:
                return existing
            if error.status not in (404, 409):
                raise
    raise ApiError(f"create {kind} {metadata['name']}", 409, f"it changed {MOST_RACES} times while it was looked at")


def is_own(existing: Document, document: Document) -> bool:
    """Return whether ``existing`` belongs to the owner of ``document``: by the owner's uid, and by the labels."""
    [owner] = document["metadata"]["ownerReferences"]
    owners = existing["metadata"].get("ownerReferences") or []
    labels, wanted = existing["metadata"].get("labels") or {}, document["metadata"]["labels"]
    return any(each["uid"] == owner["uid"] for each in owners) and all(
        labels.get(name) == wanted.get(name) for name in OWNER_LABELS
    )


async def together(*work: Awaitable[T]) -> list[T]:
    """Do all of it at the same time and return the results once all have ended; raises the first fault, if any."""
    results = await asyncio.gather(*work, return_exceptions=True)
    done: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done


async def _create(api: Api, document: Document) -> Document | None:
    try:
        return await api.create(document)
    except ApiError as error:
        if error.status not in REFUSALS:
            raise
        what = f"{document['kind']} {document['metadata']['name']}: {error.message}"
        if QUOTA.search(error.message):
            raise QuotaExceededError(f"no room in the quota for {what}") from error
        raise RefusedError(f"the API server refused {what}") from error


def _at_version_of(existing: Document, document: Document) -> Document:
    """Return ``document`` to be applied only while ``existing`` is the same object at the same version."""
    seen = {name: existing["metadata"][name] for name in ("uid", "resourceVersion")}
    return {**document, "metadata": {**document["metadata"], **seen}}


def _taken(existing: Document, document: Document) -> str:
    """Say what has the name, whose it is, and what to do."""
    kind, metadata = document["kind"], document["metadata"]
    [owner] = metadata["ownerReferences"]
    what = f"{kind} {metadata['name']} in namespace {metadata['namespace']}"
    if "deletionTimestamp" in existing["metadata"]:
        return f"{what} is being deleted: it is created again once it is gone"
    others = existing["metadata"].get("ownerReferences") or []
    whose = " and ".join(f"{each['kind']} {each['name']} (uid {each['uid']})" for each in others) or "nobody"
    text = f"{what} belongs to {whose}, not to this {owner['kind']}, and was left as it is: delete it"
    if kind == CLAIM:
        text += f", or name it in spec.workspace.persistentVolumeClaim.claimName ({metadata['name']}) to use it"
    return f"{text}, or give the {owner['kind']} another name; work starts by itself once the name is free"
