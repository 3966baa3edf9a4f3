"""`hardening run`: drive a run here, with local processes, or apply it to a cluster and follow it there."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import typer
from rich.console import Console

from hardening_api.run import HardeningRun
from hardening_api.status import HardeningRunStatus
from hardening_operator.cli.exit_codes import INTERRUPTED, USAGE, exit_code
from hardening_operator.cli.render.live_view import LiveView, PlainView, closing_words
from hardening_operator.cli.run_lookup import (
    faults_told,
    located_run,
    open_cluster,
    refuse,
    speaks_of_cluster,
    where_of,
)
from hardening_operator.cli.watch import Timeout, follow_to_the_end
from hardening_operator.documents import WrongContent, load_one, read_documents
from hardening_operator.local.home import Home, HomeError
from hardening_operator.local.metrics import RunMetrics
from hardening_operator.local.preflight import check, resolve_relative_uris, stage_environment
from hardening_operator.local.processes import Processes
from hardening_operator.local.runner import Runner, Stopped
from hardening_operator.metrics.exporter import ExpositionError


def run(  # noqa: PLR0913, PLR0917 - one for each option
    called: typer.Context,
    file: Path = typer.Argument(help="A HardeningRun manifest."),
    workspace: str | None = typer.Option(None, help="Folder or fsspec URL to work in; default runs/NAME."),
    plain: bool = typer.Option(False, "--plain", help="Print one line per event instead of a live table."),
    cluster: bool = typer.Option(False, "--cluster", help="Apply FILE to the cluster, and follow the run there."),
    timeout: Timeout = None,
    metrics_port: int | None = typer.Option(None, help="Serve the run's Prometheus metrics on this local port."),
    metrics_textfile: Path | None = typer.Option(None, help="Write them to this file, for node_exporter to read."),
) -> None:
    """Run FILE here, with local processes; stop or kill it at any time, and rerun the command to resume.

    With --cluster (or -n, --context, --kubeconfig) the run is applied to the cluster and followed as by `watch`.

    Exit codes: 0 promoted, 3 not promoted, 4 awaiting approval, 1 failed, 2 usage or no access, 5 suspended,
    124 timed out (of --timeout).
    """
    if cluster or speaks_of_cluster(called):
        if workspace is not None:
            refuse("--workspace: a run in the cluster names its own, in spec.workspace: leave it out")
        if metrics_port is not None or metrics_textfile is not None:
            refuse("--metrics-port, --metrics-textfile: the operator serves the metrics of a run in the cluster")
        apply_and_follow(called, file, plain, timeout)
    if timeout is not None:
        refuse("--timeout: stop a local run by Ctrl-C and rerun the command to resume: leave it out")
    run_here(file, workspace, plain, Exposition(metrics_port, metrics_textfile))


class Exposition(NamedTuple):
    """Where a local run's metrics go."""

    port: int | None = None
    textfile: Path | None = None


def run_here(file: Path, workspace: str | None, plain: bool, metrics: Exposition) -> None:
    """Drive the run of ``file`` with local processes, and leave with its exit code."""
    console = Console(stderr=False)
    try:
        manifest = _single_run(file)
        home, url = _place(manifest.metadata.name, workspace)
        check(manifest, os.environ)
        with home.locked():
            status = _drive(home, home.adopt(manifest), url, console, plain, metrics)
    except (HomeError, ExpositionError) as error:
        for line in str(error).splitlines():
            print(f"{file}: {line}", file=sys.stderr)  # noqa: T201 - one line an error, for scripts
        raise typer.Exit(USAGE) from None
    except Stopped:
        console.print(f"Stopped; the work is saved. To resume: hardening run {file}")
        raise typer.Exit(INTERRUPTED) from None
    console.print(closing_words(status, console.width))
    console.print(f"Report: hardening report {home.folder}", soft_wrap=True, highlight=False)
    raise typer.Exit(exit_code(status))


def _single_run(file: Path) -> HardeningRun:
    try:
        manifest = load_one(file, HardeningRun)
    except WrongContent as fault:
        raise HomeError(str(fault)) from None
    document = resolve_relative_uris(manifest.to_document(), file.resolve().parent)
    return HardeningRun.model_validate(document)


def _place(name: str, workspace: str | None) -> tuple[Home, str]:
    """Return where status and logs go, and the workspace's URL; a remote workspace keeps its status in runs/NAME."""
    if workspace is None or "://" not in workspace:
        folder = Path(workspace or f"runs/{name}").resolve()
        return Home(folder), f"file://{folder}"
    if workspace.startswith("file://"):
        folder = Path(workspace.removeprefix("file://")).resolve()
        return Home(folder), f"file://{folder}"
    if not workspace.startswith("s3://"):
        raise HomeError(f"--workspace: got {workspace}: expected a folder, a file:// or an s3:// URL")
    return Home(Path(f"runs/{name}").resolve()), workspace


def _drive(
    home: Home, manifest: HardeningRun, url: str, console: Console, plain: bool, metrics: Exposition
) -> HardeningRunStatus:
    asked: list[int] = []
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda number, _frame: asked.append(number))
    view_type = PlainView if plain or not console.is_terminal else LiveView
    title = f"{manifest.metadata.name}  {manifest.spec.model.uri}  logs in {home.folder / 'local'}"
    with view_type(console, title) as view:
        watcher = RunMetrics(manifest, view, metrics.port, metrics.textfile)
        runner = Runner(home, manifest, url, Processes(stage_environment()), watcher)
        return runner.drive(clock=lambda: datetime.now(UTC), sleep=time.sleep, stop=lambda: bool(asked))


def apply_and_follow(called: typer.Context, file: Path, plain: bool, timeout: float | None) -> None:
    """Make the run of ``file`` be in the cluster, follow it until it rests, and leave with its exit code."""
    try:
        manifest = load_one(file, HardeningRun)
    except WrongContent as fault:
        refuse("\n".join(f"{file}: {line}" for line in str(fault).splitlines()))
    [document] = read_documents(file)
    for path, uri in _relative_files(document["spec"], "spec"):
        refuse(f"{file}: {path}: got {uri}: expected an absolute path in the pods: file:///...")
    with faults_told():
        cluster = open_cluster(called)
        given = manifest.metadata.namespace
        if given is not None and given != cluster.namespace:
            if where_of(called).namespace is not None:
                refuse(f"{file}: metadata.namespace: got {given}: expected {cluster.namespace}, as -n says")
            cluster = cluster.in_namespace(given)
        metadata = {**document["metadata"], "namespace": cluster.namespace}
        document = {name: value for name, value in document.items() if name != "status"}
        stored = cluster.apply("hardeningruns", {**document, "metadata": metadata})
        follow_to_the_end(called, located_run(called, cluster, stored), plain, timeout)


def _relative_files(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _relative_files(item, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _relative_files(item, f"{path}[{index}]")
    elif isinstance(value, str) and value.startswith("file://") and not value.startswith("file:///"):
        yield path, value
