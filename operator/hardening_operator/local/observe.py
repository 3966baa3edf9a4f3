"""What is: the newest attempt of every stage, read from its folder and its processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hardening_api.stages import STAGE_OF_FOLDER, ExitCode, StageResult
from hardening_api.stats import AgreementSums
from hardening_api.status import HardeningRunStatus
from hardening_operator.local.home import Home, read_json
from hardening_operator.local.processes import Processes
from hardening_operator.planner.types import Approval, Failure, Observed, Pace, StageKey, StageObservation, round_name


def observe(home: Home, processes: Processes, now: datetime) -> Observed:
    """Return every stage that was ever started, and the approval if one was given."""
    stages = {}
    for folder in sorted(home.state.glob("r*-*")):
        round_text, _, name = folder.name[1:].partition("-")
        key = StageKey(round=int(round_text), stage=STAGE_OF_FOLDER[name])
        attempts = home.attempts(key)
        if attempts:
            attempt = int(attempts[-1].name[1:])
            stages[key] = observe_attempt(key, attempt, home.shards(key, attempt), processes, now)
    return Observed(stages=stages, approval=_approval(home), generation=1)


def observe_attempt(
    key: StageKey, attempt: int, shards: list[Path], processes: Processes, now: datetime
) -> StageObservation:
    """Return one attempt, from the folders of its shards and their processes."""
    alive = [processes.alive(shard, now) for shard in shards]
    results = tuple(result for shard in shards if (result := read_result(shard)) is not None)
    started = _moments(shards, "process.json", "startedAt")
    ended = _moments(shards, "exit.json", "endedAt")
    seen = StageObservation(key=key, state="Running", attempt=attempt, started_at=min(started, default=None))
    if any(alive):
        return replace(seen, progress=_progress(shards))
    seen = replace(seen, ended_at=max(ended, default=now), results=results)
    if shards and len(results) == len(shards) and all(result.outcome == "Succeeded" for result in results):
        return replace(seen, state="Succeeded")
    if shards and (shards[0].parent / "stop.json").exists():
        return replace(seen, state="Stopped")
    return replace(seen, state="Failed", failure=_failure(shards))


def read_result(shard: Path) -> StageResult | None:
    """Return what a shard reported, or None when it ended without a word."""
    try:
        return StageResult.from_message((shard / "result.json").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _failure(shards: list[Path]) -> Failure:
    for shard in shards:
        result, exit_record = read_result(shard), read_json(shard / "exit.json")
        if result is not None and result.outcome == "Succeeded":
            continue
        code = exit_record["exitCode"] if exit_record else None
        if result is not None:
            interrupted = result.outcome == "Interrupted"
            return Failure(
                exit_code=ExitCode.TEMPORARY if interrupted and code is None else code,
                reason=result.reason or "StageFailed",
                message=result.message or "the stage gave no message: read its log",
                disruption=interrupted and code is None,
            )
        return _silent_failure(code, shard)
    return Failure(exit_code=None, reason="StageLost", message="the stage was never started", disruption=True)


def _silent_failure(code: int | None, shard: Path) -> Failure:
    """Describe a process that ended without a result; one that ended together with its runner was only disrupted."""
    if code is None:
        message = "the stage ended together with its runner"
        return Failure(exit_code=None, reason="RunnerLost", message=message, disruption=True)
    if code == -signal.SIGKILL:
        message = "the stage was killed (out of memory?): give it more memory or smaller batches"
        return Failure(exit_code=code, reason="OutOfMemory", message=message, disruption=False)
    message = f"the stage ended with code {code} and no result: read {shard / 'log'}"
    return Failure(exit_code=code, reason="StageFailed", message=message, disruption=False)


def _progress(shards: list[Path]) -> Pace | None:
    found = [document for shard in shards if (document := read_json(shard / "progress.json")) is not None]
    if not found:
        return None
    etas = [document["etaSeconds"] for document in found if document.get("etaSeconds") is not None]
    return Pace(sum(document["ratio"] for document in found) / len(shards), max(etas, default=None))


def _moments(shards: list[Path], name: str, field: str) -> list[datetime]:
    documents: list[dict[str, Any]] = [d for shard in shards if (d := read_json(shard / name)) is not None]
    return [datetime.fromisoformat(document[field]) for document in documents]


def _approval(home: Home) -> Approval | None:
    document = read_json(home.folder / "approval.json")
    if document is None:
        return None
    return Approval(
        digest=document["digest"],
        decision=document["decision"],
        approver=document["approver"],
        time=datetime.fromisoformat(document["time"]),
    )


def agreement_by_round(home: Home, status: HardeningRunStatus) -> dict[str, AgreementSums]:
    """Return how R is distributed in each round, from the results of the Evaluate stages."""
    found = {}
    for entry in status.entries:
        total = AgreementSums()
        for result in _results(home, StageKey(round=entry.round, stage="Evaluate")):
            for sums in result.evaluations:
                if sums.agreement is not None:
                    total = total + sums.agreement
        if total.harmful or total.safe:
            found[round_name(entry.round)] = total
    return found


def _results(home: Home, key: StageKey) -> Iterator[StageResult]:
    attempts = home.attempts(key)
    if attempts:
        for shard in home.shards(key, int(attempts[-1].name[1:])):
            result = read_result(shard)
            if result is not None:
                yield result
