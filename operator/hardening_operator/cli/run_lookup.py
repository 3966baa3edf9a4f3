"""What a command is about: a run in a folder here, or one in a cluster; and how its errors are reported.

`RUN` is a folder when it has a `/` or a folder of that name is here; else it is a HardeningRun in the cluster. With
-n, --context or --kubeconfig, and under the name `kubectl hardening`, it is always one in the cluster.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from hardening_api.run import HardeningRun
from hardening_api.status import HardeningRunStatus
from hardening_operator.cli.exit_codes import USAGE
from hardening_operator.cli.kube.faults import ClusterFault, NoCluster
from hardening_operator.cli.kube.kubeconfig import Where
from hardening_operator.cli.options import PLUGIN, cluster_options
from hardening_operator.local.home import Home, HomeError

if TYPE_CHECKING:
    from hardening_operator.cli.kube.api import Cluster

RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Folder of a run (it exists here, or has a /); else a run in the cluster."),
]
NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
ClusterRunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run in the cluster.")]


@dataclass(frozen=True)
class LocatedRun:
    """A run, where it was found, and how a person names it in the next command."""

    run: HardeningRun
    document: dict[str, Any]
    """The whole resource, as stored."""
    name: str
    """What to write after a command: `tiny -n safety`, or a folder."""
    program: str
    cluster: Cluster | None = None
    folder: Path | None = None

    @property
    def status(self) -> HardeningRunStatus:
        """The run's status; a fresh one before anything was decided."""
        return self.run.status or HardeningRunStatus()

    def command(self, verb: str, *options: str) -> str:
        """Return a command about this run, as a person would type it."""
        return " ".join([self.program, verb, self.name, *options])


def find_run(called: typer.Context, name: str) -> LocatedRun:
    """Return the run that ``name`` means. Raises ClusterFault or HomeError."""
    if means_folder(called, name):
        home = Home(Path(name))
        run = home.load_run().model_copy(update={"status": home.load_status()})
        return LocatedRun(run, run.to_document(), name, program(called), folder=home.folder)
    try:
        return in_cluster(called, name)
    except NoCluster as fault:
        if speaks_of_cluster(called):
            raise
        raise NoCluster(f"{name}: no folder of that name is here, and {fault}") from None


def in_cluster(called: typer.Context, name: str) -> LocatedRun:
    """Return the run ``name`` of the cluster. Raises ClusterFault."""
    if not re.fullmatch(NAME, name):
        raise ClusterFault(f"RUN: got {name}: expected the name of a HardeningRun in the cluster, and no folder")
    cluster = open_cluster(called)
    return located_run(called, cluster, cluster.get("hardeningruns", name))


def located_run(called: typer.Context, cluster: Cluster, document: dict[str, Any]) -> LocatedRun:
    """Return what was read from the cluster, with its name for the next command."""
    run = read_run(document)
    return LocatedRun(run, document, f"{run.metadata.name} {cluster.options}", program(called), cluster=cluster)


def read_run(document: dict[str, Any]) -> HardeningRun:
    """Return a run as a cluster gave it. Raises ClusterFault when it holds what this version does not know."""
    try:
        return HardeningRun.model_validate(document)
    except ValidationError as fault:
        field = ".".join(str(part) for part in fault.errors()[0]["loc"])
        name = document["metadata"]["name"]
        text = f"HardeningRun {name}: {field}: not known to this version of hardening: install the cluster's version"
        raise ClusterFault(text) from None


def open_cluster(called: typer.Context) -> Cluster:
    """Return the cluster the options mean. Raises ClusterFault."""
    from hardening_operator.cli.kube.api import connect  # noqa: PLC0415 - the client takes a second to import

    return connect(where_of(called))


def means_folder(called: typer.Context, name: str) -> bool:
    """Return whether ``name`` is a folder here."""
    if speaks_of_cluster(called):
        return False
    return "/" in name or name in (".", "..") or Path(name).is_dir()


def speaks_of_cluster(called: typer.Context) -> bool:
    """Return whether the program's name or an option says that a cluster is meant."""
    return program(called) == PLUGIN or where_of(called).is_given


def where_of(called: typer.Context) -> Where:
    """Return what --context, --namespace and --kubeconfig said, before or after the command's name."""
    return Where(**cluster_options(called.meta))


def program(called: typer.Context) -> str:
    """Return the program's name, as it was called."""
    return str(called.find_root().info_name)


@contextmanager
def faults_told() -> Iterator[None]:
    """Print an error on stderr, one line each, and exit with the code of usage."""
    try:
        yield
    except (ClusterFault, HomeError) as fault:
        refuse(str(fault))


def refuse(text: str) -> NoReturn:
    """Say on stderr why not, and leave."""
    for line in text.splitlines():
        print(line, file=sys.stderr)  # noqa: T201 - one line an error, for scripts
    raise typer.Exit(USAGE)
