"""The bring-up's command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from tools.cluster import cluster, images, node, tools
from tools.cluster.components import ORDER
from tools.cluster.settings import Settings, from_environment
from tools.cluster.shell import BringUpError, say


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    chosen = _parser().parse_args(arguments)
    if os.geteuid():
        say("the cluster needs root: it makes network devices, mounts and control groups")
        return 2
    try:
        _run(from_environment(), chosen)
    except BringUpError as error:
        say(str(error))
        return 1
    return 0


def _run(settings: Settings, chosen: argparse.Namespace) -> None:
    match chosen.command:
        case "up":
            cluster.up(settings)
        case "down":
            cluster.down(settings)
        case "status":
            _status(settings)
        case "start" | "stop" | "restart":
            getattr(cluster, chosen.command)(settings, chosen.process)
        case "tools":
            tools.install_packages(settings)
            built = tools.build(settings, chosen.names or tools.TEST_TOOLS)
            sys.stdout.write("".join(f"{path}\n" for path in built.values()))
        case "images":
            sys.stdout.write(json.dumps(_images(settings, chosen.names or list(images.IMAGES)), indent=1) + "\n")
        case "simulate":
            cluster.simulate_nodes(settings, chosen.nodes)
        case "env":
            sys.stdout.write(f"export KUBECONFIG={settings.kubeconfig}\nexport PATH={settings.cache / 'bin'}:$PATH\n")


def _status(settings: Settings) -> None:
    if cluster.is_up(settings):
        say(f"up: {settings.kubeconfig}")
        return
    say("down")
    for line in node.leftovers(settings):
        say(f"still there: {line}")


def _images(settings: Settings, names: list[str]) -> dict[str, str]:
    tools.install_packages(settings)
    references = {}
    for name in names:
        began = time.monotonic()
        references[name] = images.build(settings, name)
        if cluster.is_up(settings):
            images.load(settings, references[name])
        say(f"{references[name]}: {time.monotonic() - began:.0f} s")
    return references


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description=sys.modules["tools.cluster"].__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="build what is missing and start the cluster")
    commands.add_parser("down", help="end it and leave nothing but built tools, images and logs")
    commands.add_parser("status", help="whether it is up, and what of it is on the machine")
    for verb in ("start", "stop", "restart"):
        commands.add_parser(verb, help=f"{verb} one process").add_argument("process", help=", ".join(ORDER))
    tool = commands.add_parser("tools", help="build tools and print where they are")
    tool.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(tools.TOOLS)}; else what the tests use")
    image = commands.add_parser("images", help="build the project's images; load them into the cluster if it runs")
    image.add_argument("names", nargs="*", metavar="NAME", help=" or ".join(images.IMAGES))
    simulate = commands.add_parser("simulate", help="add simulated GPU nodes (kwok)")
    simulate.add_argument("--nodes", type=int, default=10)
    commands.add_parser("env", help="shell lines that set KUBECONFIG and PATH")
    return parser


if __name__ == "__main__":
    sys.exit(main())
