"""Objects that are made for runs and monitors, and the API server's no to one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from hardening_operator.controller.runtime.api import Api, ApiError

T = TypeVar("T")
REFUSALS = (400, 403, 405, 413, 415, 422)
"""Statuses of the API server that mean the object, not the moment, is wrong."""


class RefusedError(Exception):
    """The API server refuses an object whenever it is asked."""


async def apply_owned(api: Api, document: Mapping[str, Any], owner_uid: str) -> Mapping[str, Any]:
    """Apply an object and return it as it is then.

    Raises RefusedError, unless one of its owner's is there: that may be immutable, and refuse what another version of
    the operator would make of it.
    """
    kind, name = document["kind"], document["metadata"]["name"]
    try:
        return await api.apply(document)
    except ApiError as error:
        if error.status not in REFUSALS:
            raise
        existing = await api.get(kind, document["metadata"]["namespace"], name)
        if existing is None or not _owned(existing, owner_uid):
            raise RefusedError(f"the API server refused {kind} {name}: {error.message}") from error
        return existing


async def together(*work: Awaitable[T]) -> list[T]:
    """Do all of it at the same time and return the results once none goes on; raises the first fault, if any."""
    results = await asyncio.gather(*work, return_exceptions=True)
    done: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done


def _owned(document: Mapping[str, Any], uid: str) -> bool:
    return any(owner["uid"] == uid for owner in document["metadata"].get("ownerReferences") or [])
