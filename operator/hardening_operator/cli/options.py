"""The options that say which cluster is meant; every command about runs has them, before and after its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

PLUGIN = "kubectl hardening"
"""The program's name when kubectl calls it; it then speaks of the cluster alone."""
_KEY = "hardening_operator.where."


def _keep(called: typer.Context, parameter: typer.CallbackParam, value: str | None) -> None:
    if value is not None:
        called.meta[_KEY + str(parameter.name)] = value


def _options(
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", callback=_keep, expose_value=False, help="Namespace of the run."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", callback=_keep, expose_value=False, help="Context of the kubeconfig file."),
    ] = None,
    kubeconfig: Annotated[
        str | None,
        typer.Option("--kubeconfig", callback=_keep, expose_value=False, help="Kubeconfig file; default $KUBECONFIG."),
    ] = None,
) -> None:
    """Carry the options; never called."""


def with_cluster_options(command: Any) -> Any:
    """Add the options to a command; they are read from its context by `cluster_options`."""
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_options)
    command.params.extend(typer.main.get_command(carrier).params)
    return command


def cluster_options(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that were given: context, namespace, kubeconfig."""
    return {name.removeprefix(_KEY): value for name, value in meta.items() if name.startswith(_KEY)}
