"""The ConfigMaps of a stage: the config of each of its shards, as `shard-<index>.json`.

The API server takes at most 1 MiB in one ConfigMap; 256 shards with many banks need more, so there may be several.
"""

from __future__ import annotations

import json
from typing import Any

from hardening_api.stages import StageConfig
from hardening_operator.resources.attempt import StageAttempt

LARGEST_BYTES = 768 * 1024


def config_maps(attempt: StageAttempt) -> list[dict[str, Any]]:
    """Return the ConfigMaps; the first has the Job's name, a further one `<job>-c<number>`."""
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": attempt.metadata(name), "data": data}
        for name, data in zip(config_map_names(attempt), _parts(attempt), strict=True)
    ]


def config_map_names(attempt: StageAttempt) -> list[str]:
    """Return the names of the ConfigMaps."""
    return [attempt.name if number == 1 else f"{attempt.name}-c{number}" for number, _ in enumerate(_parts(attempt), 1)]


def _parts(attempt: StageAttempt) -> list[dict[str, str]]:
    parts: list[dict[str, str]] = [{}]
    room = LARGEST_BYTES
    for config in attempt.configs:
        text = _compact(config)
        size = len(text.encode())
        if parts[-1] and size > room:
            parts.append({})
            room = LARGEST_BYTES
        parts[-1][f"shard-{config.shard.index}.json"] = text
        room -= size
    return parts


def _compact(config: StageConfig) -> str:
    return json.dumps(config.to_document(), separators=(",", ":"), ensure_ascii=False)
