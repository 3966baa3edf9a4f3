"""The Job controller and the kubelet, played by the test: realistic Job and Pod objects."""

from __future__ import annotations

from typing import Any

from hardening_api.stages import Shard, StageResult
from hardening_operator.planner.names import STAGE_LABEL
from hardening_operator.resources import key_of
from tests.operator.controller.emulator import ApiServer
from tests.operator.controller.operator_in_hand import Clock
from tests.operator.world import GOOD, result_of

INDEX = "batch.kubernetes.io/job-completion-index"


class Kubelet:
    """Runs Jobs by hand."""

    def __init__(self, server: ApiServer, clock: Clock) -> None:
        self._server, self._clock = server, clock
        self._made = 0

    def open_jobs(self) -> list[str]:
        """Names of the stages' Jobs that have not ended."""
        jobs = (job for job in self._server.objects_of("jobs") if STAGE_LABEL in job["metadata"].get("labels", {}))
        return [job["metadata"]["name"] for job in jobs if not _ended(job)]

    async def pod(self, job_name: str, index: int = 0, **status: Any) -> str:
        """Make a pod of a Job; it runs, unless ``status`` says otherwise. Returns its name."""
        job = self._server.get_one("jobs", job_name)
        self._made += 1
        name = f"{job_name}-{index}-{self._made:05d}"
        metadata = {
            "name": name,
            "namespace": job["metadata"]["namespace"],
            "creationTimestamp": self._clock.text(),
            "labels": {**job["spec"]["template"]["metadata"]["labels"], INDEX: str(index)},
            "ownerReferences": [_owner(job)],
        }
        running = {"state": {"running": {"startedAt": self._clock.text()}}}
        shown = {"phase": "Running", "podIP": "10.0.0.1", **container(running), **status}
        await self._server.create_object("pods", {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": shown})
        return name

    async def end_pod(self, name: str, code: int, message: str = "", reason: str = "", **status: Any) -> None:
        """Let a pod's container end."""
        ended = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "message": message,
            "startedAt": self._clock.text(),
            "finishedAt": self._clock.text(),
        }
        document = self._server.get_one("pods", name)
        phase = "Succeeded" if code == 0 else "Failed"
        shown = {"phase": phase, **container({"state": {"terminated": ended}}), **status}
        await self._server.put("pods", {**document, "status": shown})

    async def succeed(self, job_name: str, wins: int = GOOD) -> None:
        """Run a Job's pods to their results, and complete it."""
        for index in range(self._server.get_one("jobs", job_name)["spec"]["completions"]):
            await self.end_pod(await self.pod(job_name, index), 0, self.result(job_name, index, wins))
        await self.complete(job_name)

    async def finish(self, job_name: str, result: StageResult) -> None:
        """Run a Job's only pod to this result, and complete it."""
        await self.end_pod(await self.pod(job_name), 0, result.to_message())
        await self.complete(job_name)

    async def fail(self, job_name: str, code: int, message: str = "", reason: str = "") -> None:
        """Let a Job's first pod end badly, and the Job with it."""
        await self.end_pod(await self.pod(job_name), code, message, reason)
        await self.end_job(job_name, "Failed", "BackoffLimitExceeded")

    async def complete(self, job_name: str) -> None:
        await self.end_job(job_name, "Complete", "CompletionsReached")

    async def end_job(self, job_name: str, kind: str, reason: str) -> None:
        now = self._clock.text()
        condition = {"type": kind, "status": "True", "reason": reason, "message": reason, "lastTransitionTime": now}
        job = self._server.get_one("jobs", job_name)
        await self._server.put("jobs", {**job, "status": {"startTime": now, "conditions": [condition]}})

    def result(self, job_name: str, index: int = 0, wins: int = GOOD) -> str:
        """The termination message of a shard that succeeded."""
        job = self._server.get_one("jobs", job_name)
        named = key_of(job["metadata"]["labels"])
        assert named is not None
        count = 1 if named[0].stage.startswith("Train") else job["spec"]["completions"]
        return result_of(named[0], wins, Shard(index=min(index, count - 1), count=count)).to_message()

    async def delete_job(self, job_name: str, orphan: bool = False) -> None:
        """Delete a Job as `kubectl delete job` does: it is gone at once, and its pods end in their own time.

        With ``orphan`` they are left alone, as `--cascade=orphan` does.
        """
        uid = self._server.get_one("jobs", job_name)["metadata"]["uid"]
        await self._server.vanish("jobs", job_name)
        pods = [pod for pod in self._server.objects_of("pods") if pod["metadata"].get("ownerReferences")]
        for pod in [pod for pod in pods if pod["metadata"]["ownerReferences"][0]["uid"] == uid]:
            metadata = dict(pod["metadata"])
            if orphan:
                del metadata["ownerReferences"]
            else:
                metadata["deletionTimestamp"] = self._clock.text()
            await self._server.put("pods", {**pod, "metadata": metadata})

    async def let_go(self) -> None:
        """Finish every foreground deletion: pods have saved and gone, then the Job."""
        for plural in ("jobs", "hardeningruns", "hardeningmonitors"):
            for document in self._server.objects_of(plural):
                if "deletionTimestamp" in document["metadata"]:
                    await self._server.remove(plural, document["metadata"]["name"])


def container(state: dict[str, Any]) -> dict[str, Any]:
    """The container statuses of a stage pod."""
    return {"containerStatuses": [{"name": "stage", "ready": False, **state}]}


def report(stage: Any, outcome: Any, reason: str, message: str) -> str:
    """The termination message of a stage that did not succeed."""
    return StageResult(stage=stage, round=1, outcome=outcome, reason=reason, message=message).to_message()


def _ended(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(each["type"] in ("Complete", "Failed") for each in conditions)


def _owner(job: dict[str, Any]) -> dict[str, Any]:
    metadata = job["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
