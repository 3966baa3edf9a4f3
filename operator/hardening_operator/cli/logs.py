"""`hardening logs`: what the pods of a stage wrote."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hardening_api.stages import STAGES
from hardening_operator.cli.exit_codes import INTERRUPTED
from hardening_operator.cli.kube.faults import ClusterFault, NotFound
from hardening_operator.cli.kube.stage_pods import (
    LABEL,
    StagePod,
    current_stages,
    pods_to_show,
    stage_named,
    why_no_log,
)
from hardening_operator.cli.run_lookup import ClusterRunArgument, LocatedRun, faults_told, in_cluster, refuse
from hardening_operator.planner.types import StageKey

if TYPE_CHECKING:
    from hardening_operator.cli.kube.api import Cluster

CONTAINER = "stage"
PAUSE_SECONDS = 1.0
END = object()


def logs(  # noqa: PLR0913, PLR0917 - one argument an option
    called: typer.Context,
    run: ClusterRunArgument,
    round_number: Annotated[
        int | None, typer.Option("--round", help="Round; 0 is the base model's evaluation.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help=f"Stage: {', '.join(STAGES)}.")] = None,
    shard: Annotated[int | None, typer.Option(help="Only this shard, or node of a training; from 0.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the logs until the pods end.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="The attempt before the last one.")] = False,
    tail: Annotated[int | None, typer.Option(help="Only this many last lines of each pod.", min=0)] = None,
) -> None:
    """Print the logs of a stage's pods: of the running stages, else of the one that failed, else of the last one."""
    with faults_told():
        located = in_cluster(called, run)
        if located.cluster is None:
            return
        keys = _keys(located, round_number, stage)
        selector = f"{LABEL}run={located.run.metadata.name}"
        pods = pods_to_show(located.cluster.list("pods", labelSelector=selector), keys, shard, previous)
        if not pods:
            refuse(_nothing(keys, shard, previous))
        printer = Printer(located.cluster, several=len(pods) > 1, tail=tail)
        try:
            printer.follow(pods) if follow else printer.show(pods)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def _keys(located: LocatedRun, round_number: int | None, stage: str | None) -> list[StageKey]:
    """Return the stages that are meant."""
    wanted = None if stage is None else stage_named(stage)
    if stage is not None and wanted is None:
        refuse(f"--stage: got {stage}: expected one of {', '.join(STAGES)}")
    keys = current_stages(located.status, round_number, wanted)
    if not keys:
        where = " ".join(str(part) for part in ("round", round_number, wanted) if part is not None)
        refuse(f"{located.run.metadata.name}: no such stage was started yet ({where.removeprefix('round None ')})")
    return keys


def _nothing(keys: Sequence[StageKey], shard: int | None, previous: bool) -> str:
    what = " and ".join(str(key) for key in keys) + (f" shard {shard}" if shard is not None else "")
    if previous:
        return f"{what}: no pod of an earlier attempt is left"
    return f"{what}: no pod is left: they go with their Jobs (spec.ttlSecondsAfterFinished), or when a node goes"


class Printer:
    """Prints logs, each line behind its pod's name where there are several."""

    def __init__(self, cluster: Cluster, several: bool, tail: int | None) -> None:
        self._cluster, self._several, self._tail = cluster, several, tail

    def show(self, pods: Sequence[StagePod]) -> None:
        """Print what is there, one pod after the other."""
        for pod in pods:
            for line in self._lines(pod, follow=False):
                self._print(pod, line)

    def follow(self, pods: Sequence[StagePod]) -> None:
        """Print lines as they come, of all pods at once, until all have ended."""
        lines: queue.Queue[tuple[StagePod, Any]] = queue.Queue()
        for pod in pods:
            threading.Thread(target=self._feed, args=(pod, lines), daemon=True).start()
        left = len(pods)
        while left:
            pod, line = lines.get()
            if line is END:
                left -= 1
            else:
                self._print(pod, line)

    def _feed(self, pod: StagePod, lines: queue.Queue[tuple[StagePod, Any]]) -> None:
        try:
            for line in self._lines(pod, follow=True):
                lines.put((pod, line))
        finally:
            lines.put((pod, END))

    def _lines(self, pod: StagePod, follow: bool) -> Iterator[str]:
        """Yield a pod's lines; a pod that has none yet is waited for with ``follow``, else its state is a line."""
        told = ""
        while (why := why_no_log(pod.document)) is not None:
            if why != told:
                yield f"({why})"
            if not follow:
                return
            told = why
            time.sleep(PAUSE_SECONDS)
            try:
                pod = StagePod(self._cluster.get("pods", pod.name))
            except NotFound:
                yield "(the pod is gone)"
                return
        try:
            yield from self._cluster.log(pod.name, CONTAINER, follow, self._tail)
        except ClusterFault as fault:
            yield f"({fault})"

    def _print(self, pod: StagePod, line: str) -> None:
        typer.echo(f"{pod.label} | {line}" if self._several else line)
