"""Volumes of a stage's pods, and where its container sees them.

/etc/hardening/stage            the config of each shard
/etc/hardening/secrets/<name>   a Secret the stage's config names
/workspace                      the claim
/tmp, /dev/shm                  where else a stage may write; a mount of the run's own takes their place
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hardening_operator.resources.attempt import StageAttempt
from hardening_operator.resources.claims import MOUNT, mounted_claim
from hardening_operator.resources.config_maps import config_map_names
from hardening_operator.resources.needs import secret_names

PREFIX = "hardening-"
"""Names of our volumes begin with it, those of a run's own may not."""
CONFIG_FOLDER = "/etc/hardening/stage"
SECRETS_FOLDER = "/etc/hardening/secrets"
TEMPORARY = "/tmp"  # noqa: S108 - a volume of the pod's own
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - likewise
GROUP_MAY_READ = 0o440


@dataclass(frozen=True)
class Mounted:
    """A volume of ours and where it is mounted."""

    name: str
    path: str
    source: dict[str, Any]
    read_only: bool = False

    @property
    def volume(self) -> dict[str, Any]:
        """The pod's volume."""
        return {"name": self.name, **self.source}

    @property
    def mount(self) -> dict[str, Any]:
        """The container's mount."""
        return {"name": self.name, "mountPath": self.path} | ({"readOnly": True} if self.read_only else {})


def volumes(attempt: StageAttempt) -> list[dict[str, Any]]:
    """Return the pod's volumes, the run's own last."""
    return [*(part.volume for part in _ours(attempt)), *attempt.overrides.volumes]


def mounts(attempt: StageAttempt) -> list[dict[str, Any]]:
    """Return the container's mounts, the run's own last."""
    return [*(part.mount for part in _ours(attempt)), *attempt.overrides.volume_mounts]


def _ours(attempt: StageAttempt) -> list[Mounted]:
    taken = {mount.get("mountPath") for mount in attempt.overrides.volume_mounts}
    scratch = [
        Mounted(f"{PREFIX}tmp", TEMPORARY, {"emptyDir": {}}),
        Mounted(f"{PREFIX}shm", SHARED_MEMORY, {"emptyDir": {"medium": "Memory"}}),
    ]
    claim = mounted_claim(attempt.holder)
    workspace = [Mounted(f"{PREFIX}workspace", MOUNT, {"persistentVolumeClaim": {"claimName": claim}})] if claim else []
    config = Mounted(f"{PREFIX}config", CONFIG_FOLDER, _config_source(config_map_names(attempt)), read_only=True)
    return [config, *workspace, *(part for part in scratch if part.path not in taken), *_secrets(attempt)]


def _config_source(names: Sequence[str]) -> dict[str, Any]:
    if len(names) == 1:
        return {"configMap": {"name": names[0]}}
    return {"projected": {"sources": [{"configMap": {"name": name}} for name in names]}}


def _secrets(attempt: StageAttempt) -> list[Mounted]:
    """A Secret that is missing does not hold the pod back: the stage itself then says which one, and ends at once."""
    return [
        Mounted(
            f"{PREFIX}secret-{number}",
            f"{SECRETS_FOLDER}/{name}",
            {"secret": {"secretName": name, "defaultMode": GROUP_MAY_READ, "optional": True}},
            read_only=True,
        )
        for number, name in enumerate(secret_names(attempt.configs))
    ]
