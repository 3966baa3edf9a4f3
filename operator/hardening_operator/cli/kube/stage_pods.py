"""Which pods belong to which stage, attempt and shard of a run: pure functions over pods as the cluster gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hardening_api.stages import STAGE_OF_FOLDER, STAGES
from hardening_api.status import HardeningRunStatus, StageName
from hardening_operator.planner.types import StageKey

LABEL = "hardening.dev/"
INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class StagePod:
    """One pod of a stage."""

    document: dict[str, Any]

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.document["metadata"]["name"])

    @property
    def key(self) -> StageKey | None:
        """Its stage; None when its labels name none."""
        labels = self._labels
        stage = STAGE_OF_FOLDER.get(labels.get(f"{LABEL}stage", ""))
        number = labels.get(f"{LABEL}round", "")
        return StageKey(int(number), stage) if stage is not None and number.isdigit() else None

    @property
    def shard(self) -> int:
        """Its index among the stage's pods."""
        metadata = self.document["metadata"]
        found = self._labels.get(INDEX) or (metadata.get("annotations") or {}).get(INDEX) or "0"
        return int(found)

    @property
    def age_order(self) -> tuple[int, str]:
        """Attempt and time of creation."""
        return int(self._labels.get(f"{LABEL}attempt", "1")), self.document["metadata"].get("creationTimestamp", "")

    @property
    def label(self) -> str:
        """What a line of its log starts with: `r1-attack/0`."""
        return f"r{self._labels.get(f'{LABEL}round')}-{self._labels.get(f'{LABEL}stage')}/{self.shard}"

    @property
    def _labels(self) -> dict[str, str]:
        return self.document["metadata"].get("labels") or {}


def stage_named(text: str) -> StageName | None:
    """Return the stage that ``text`` names, as `TrainDefender` or as `train-defender`."""
    plain = text.replace("-", "").lower()
    return next((stage for stage in STAGES if stage.lower() == plain), None)


def current_stages(status: HardeningRunStatus, round_number: int | None, stage: StageName | None) -> list[StageKey]:
    """Return the started stages that are meant: all that run, else those that failed, else the last one."""
    started = [
        (StageKey(entry.round, found.stage), found.state)
        for entry in status.entries
        for found in entry.stages
        if found.attempts and round_number in (None, entry.round) and stage in (None, found.stage)
    ]
    for state in ("Running", "Failed"):
        keys = [key for key, current in started if current == state]
        if keys:
            return keys
    return [started[-1][0]] if started else []


def pods_to_show(
    pods: Iterable[dict[str, Any]], keys: Sequence[StageKey], shard: int | None, previous: bool
) -> list[StagePod]:
    """Return each shard's newest pod (``previous``: the one before), in the order of stages and shards."""
    found: dict[tuple[StageKey, int], list[StagePod]] = {}
    for pod in sorted(map(StagePod, pods), key=lambda pod: pod.age_order):
        if pod.key is not None and pod.key in keys and shard in (None, pod.shard):
            found.setdefault((pod.key, pod.shard), []).append(pod)
    place = -2 if previous else -1
    order = sorted(found, key=lambda part: (part[0].order, part[1]))
    return [found[part][place] for part in order if len(found[part]) >= -place]


def why_no_log(pod: dict[str, Any]) -> str | None:
    """Say why a pod has no log yet, from the scheduler or the kubelet; None when it has one."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting")
        if not waiting:
            return None
        return f"waits: {waiting.get('reason', 'not started')}" + _colon(waiting.get("message"))
    if status.get("phase") in ("Running", "Succeeded", "Failed"):
        return None
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"waits: {condition.get('reason', 'not scheduled')}" + _colon(condition.get("message"))
    return "waits for a node to take it"


def _colon(message: str | None) -> str:
    return f": {message}" if message else ""
