"""A running stage's Job is deleted by hand: no two of its pods ever run at the same time, and the status counts it."""

from __future__ import annotations

import subprocess
from datetime import datetime

import pytest

from tests.cluster.support.clients import Kubectl
from tests.cluster.support.runs import condition, finished, pods_of, reasons, stages_of, tiny_run, working

Span = tuple[datetime, datetime]


ENDS = (
    "jsonpath={.metadata.name} {.status.containerStatuses[0].state.terminated.startedAt} "
    '{.status.containerStatuses[0].state.terminated.finishedAt}{"\\n"}'
)
"""A line for each change of a pod: its name, and when its container started and finished, once that is known."""


def spans(lines: list[str]) -> dict[str, Span]:
    """From each pod's start to its end, as a watch of pods told them; a pod that was not seen to end is left out."""
    found: dict[str, Span] = {}
    for line in lines:
        match line.split():
            case [pod, begun, gone]:
                found[pod] = (datetime.fromisoformat(begun), datetime.fromisoformat(gone))
    return found


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_a_deleted_job_s_pods_end_before_the_next_attempt_s_begin(space: Kubectl, cascade: str) -> None:
    name = f"robbed-{cascade}"
    space.apply(tiny_run(name, backoffLimit=0))
    selector = working(space, name, "train-defender")
    argv = space.argv("get", "pods", "-l", selector, "--watch", f"--output={ENDS}")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watch:
        [job] = [job["metadata"]["name"] for job in space.items("jobs", pods_of(name, "train-defender"))]
        space("delete", "job", job, f"--cascade={cascade}", "--wait=false")
        run = finished(space, name)
        watch.terminate()
        lines = (watch.stdout.read() if watch.stdout else "").splitlines()
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]
    [stage] = [stage for stage in stages_of(run) if stage["stage"] == "TrainDefender"]
    assert (stage["attempts"], stage["disruptions"]) == (2, 1)
    assert "StageDisrupted" in reasons(space, name)
    first, second = sorted(spans(lines).values())
    assert first[1] <= second[0], f"two pods at once: {first} and {second}"
