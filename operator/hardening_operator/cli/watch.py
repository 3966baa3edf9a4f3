"""`hardening watch`: follow a run of the cluster."""

from __future__ import annotations

import typer

from hardening_operator.cli.following import follow_to_the_end
from hardening_operator.cli.run_lookup import ClusterRunArgument, faults_told, in_cluster
from hardening_operator.cli.timeout import Timeout


def watch(
    called: typer.Context,
    name: ClusterRunArgument,
    timeout: Timeout = None,
    plain: bool = typer.Option(False, "--plain", help="Print one line per event instead of a live table."),
) -> None:
    """Follow RUN in the cluster until it has ended, is suspended or waits for a person.

    Exit codes: 0 promoted, 3 not promoted, 4 awaiting approval, 5 suspended, 1 failed or deleted, 2 usage or no
    access, 124 timed out.
    """
    with faults_told():
        follow_to_the_end(called, in_cluster(called, name), plain, timeout)
