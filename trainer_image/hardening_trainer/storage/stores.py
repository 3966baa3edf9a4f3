"""Stores by URL: whatever fsspec opens. Its `s3://` is pyarrow's here, which a stage needs anyway."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import fsspec
from fsspec.implementations.arrow import ArrowFSWrapper

from hardening_api.base import SecretRef
from hardening_trainer.storage.credentials import read_secret

OpenUrl = Callable[[str], tuple[Any, str]]
"""From a URL to its fsspec filesystem, and the path in it."""

ACCESS_KEY, SECRET_KEY = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"  # variables, and names of a Secret's keys
ENVIRONMENT = {
    "endpoint_override": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}
"""By option of `Buckets`: the variables it is taken from, the first one set counts."""


class Buckets(ArrowFSWrapper):  # type: ignore[misc]  # fsspec has no types
    """Buckets of S3, through pyarrow. Without keys it looks where AWS tools do."""

    protocol = "s3"

    def __init__(self, key: str | None = None, secret: str | None = None, **options: Any) -> None:
        from pyarrow.fs import S3FileSystem  # noqa: PLC0415  # starts the AWS library

        super().__init__(S3FileSystem(access_key=key, secret_key=secret, **options))

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("s3://").strip("/")


fsspec.register_implementation("s3", Buckets, clobber=True)


def open_store(url: str, environ: Mapping[str, str] = os.environ, ref: SecretRef | None = None) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URL, and the path in it.

    A bucket is opened with the keys of the Secret `ref` names; without one with those of the environment, or with
    what else AWS tools find on this machine. Its server and region are the environment's `AWS_ENDPOINT_URL` and
    `AWS_REGION`. Raises ValueError or ImportError for a scheme that cannot be opened here, UsageFault for a Secret
    that lacks a key.
    """
    options = _options(ref, environ) if url.startswith("s3://") else {}
    filesystem, path = fsspec.core.url_to_fs(url, **options)
    return filesystem, str(path)


def opener(ref: SecretRef | None, environ: Mapping[str, str]) -> OpenUrl:
    """Return `open_store` with the Secret of one source."""
    return partial(open_store, environ=environ, ref=ref)


def _options(ref: SecretRef | None, environ: Mapping[str, str]) -> dict[str, str]:
    named = {option: _first(environ, names) for option, names in ENVIRONMENT.items()}
    if ref is None:
        named |= {"key": environ.get(ACCESS_KEY), "secret": environ.get(SECRET_KEY)}
        named |= {"session_token": environ.get("AWS_SESSION_TOKEN")} if named["key"] else {}
    else:
        secret = SecretRef(name=ref.name)
        for option, key in (("key", ACCESS_KEY), ("secret", SECRET_KEY)):
            named[option] = read_secret(secret, key, environ)
    return {option: value for option, value in named.items() if value}


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)
