"""Stage configs for tests, as small as they may be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hardening_api.stages import StageConfig

RUN = {"name": "test", "specDigest": "sha256:" + "0" * 64}
SAMPLING = {"temperature": 1.0, "topP": 0.95, "maxNewTokens": 20}


def stage_config(stage: str, section: str, body: dict[str, Any], workspace: str, **more: Any) -> StageConfig:
    """A config of `stage` in round 1 with `body` as its section."""
    document = {"run": RUN, "stage": stage, "round": 1, "workspace": workspace, section: body, **more}
    return StageConfig.model_validate(document)


def attack_config(
    workspace: str,
    model: str = "file:///model",
    data: str = "file:///rows.jsonl",
    settings: dict[str, Any] | None = None,
    **more: Any,
) -> StageConfig:
    """An Attack on the rows of `data` by the model at `model`."""
    body = {
        "attacker": {"source": {"uri": model}},
        "preferences": {"uri": data},
        "settings": {"sampling": SAMPLING, **(settings or {})},
    }
    return stage_config("Attack", "attack", body, workspace, **more)


def terse_model(model: Path, folder: Path) -> Path:
    """Copy a tiny model so that many of its tokens end an answer: random models hardly ever stop by themselves."""
    shutil.copytree(model, folder)
    settings = folder / "generation_config.json"
    document = json.loads(settings.read_text())
    own = document["eos_token_id"]
    document["eos_token_id"] = [*([own] if isinstance(own, int) else own), *range(200, 400, 5)]
    settings.write_text(json.dumps(document))
    return folder
