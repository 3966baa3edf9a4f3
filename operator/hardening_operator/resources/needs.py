"""What a stage reads from outside its workspace: the Secrets and addresses its config names, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hardening_api.base import SecretRef, walk
from hardening_api.evaluation import Judge, PromotionTarget
from hardening_api.sources import DataSource, Endpoint, ModelSource
from hardening_api.stages import StageConfig


def secret_names(configs: Sequence[StageConfig]) -> list[str]:
    """Return the names of the Secrets that a stage reads, in order."""
    return sorted({part.name for part in _parts(configs) if isinstance(part, SecretRef)})


def addresses(configs: Sequence[StageConfig]) -> list[str]:
    """Return the URIs and URLs that a stage reads or writes, its workspace among them, in order."""
    found = {config.workspace for config in configs}
    for part in _parts(configs):
        if isinstance(part, ModelSource | DataSource):
            found.add(part.uri)
        elif isinstance(part, Judge | Endpoint) and part.base_url is not None:
            found.add(part.base_url)
        elif isinstance(part, PromotionTarget):
            found |= {url for url in (part.uri, part.tracking_uri) if url is not None}
    return sorted(found)


def _parts(configs: Iterable[StageConfig]) -> Iterator[Any]:
    for config in configs:
        # A promotion only names its base model, it does not load it.
        for _, part in walk(config.promote.targets if config.promote is not None else config):
            yield part
