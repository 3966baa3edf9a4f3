"""The pages' commands, typed as a reader would and compared with what the pages show.

The pages are read in the order of READ_IN_ORDER: each goes on from the one before, from a cluster without the operator
to one without it again. Asked for one page, the ones before it are read first. A reader's `values.yaml` names a
registry; here it names the images that were built. How blocks are marked: tests/support/pages.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import Cluster
from tests.cluster.support.clients import Helm, Kubectl
from tests.support.pages import ROOT, Block, Command, blocks, commands, difference
from tools.cluster.settings import from_environment

READ_IN_ORDER = ["install", "first-run", "troubleshooting", "security", "kubectl-plugin", "uninstall"]
SYSTEM, RUNS, RELEASE = "hardening-system", "safety", "hardening"
SHOWN_IMAGE = "registry.example.com/ml/hardening-trainer:0.1.0"
LONGEST_SECONDS = 1800
TRANSCRIPTS = ROOT / "build" / "pages"


@dataclass(frozen=True)
class Answer:
    """What a command wrote, to either stream, and how it ended."""

    lines: list[str]
    code: int


@dataclass(frozen=True)
class Reader:
    """Someone who types the commands of a page, in a checkout, with the programs on PATH."""

    folder: Path
    environ: dict[str, str]
    images: dict[str, str]
    found: dict[str, list[str]] = field(default_factory=dict)
    """What differed, by page, of the pages read so far."""

    def save(self, block: Block) -> None:
        """Write the file that a block shows; a file of the repository is there already."""
        name = block.words[0]
        if name == "values.yaml":
            (self.folder / name).write_text(yaml.safe_dump(_own_values(self.images)))
        elif "/" not in name:
            (self.folder / name).write_text(block.text.replace(SHOWN_IMAGE, self.images["trainer"]))

    def type(self, command: Command) -> Answer:
        """Type a command and wait for its end."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.text],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        return Answer(done.stdout.splitlines(), done.returncode)


def _own_values(images: dict[str, str]) -> dict[str, dict[str, str]]:
    values = {}
    for key, name in (("image", "operator"), ("trainerImage", "trainer")):
        repository, _, tag = images[name].rpartition(":")
        values[key] = {"repository": repository, "tag": tag}
    return values


@pytest.fixture(scope="module")
def reader(
    cluster: Cluster,
    images: dict[str, str],
    admin: Kubectl,
    helm: Helm,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Reader]:
    """A reader in a folder with what a checkout has; whatever a page that failed has left is removed at the end."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("charts", "crds", "examples"):
        (folder / name).symlink_to(ROOT / name)
    programs = [str(from_environment().cache / "bin"), str(ROOT / ".venv" / "bin"), os.environ["PATH"]]
    environ = os.environ | {"PATH": ":".join(programs), "KUBECONFIG": str(cluster.kubeconfig)}
    yield Reader(folder, environ, images)
    helm("uninstall", RELEASE, f"--namespace={SYSTEM}", "--wait", "--ignore-not-found")
    admin("delete", "crd", f"--selector=app.kubernetes.io/instance={RELEASE}", "--timeout=120s")
    admin("delete", "namespace", SYSTEM, RUNS, "--ignore-not-found", "--timeout=180s", seconds=200)


@pytest.mark.parametrize("page", READ_IN_ORDER)
def test_a_page_shows_what_its_commands_do(page: str, reader: Reader) -> None:
    for earlier in READ_IN_ORDER[: READ_IN_ORDER.index(page) + 1]:
        if earlier not in reader.found:
            reader.found[earlier] = _read(earlier, reader)
    if reader.found[page]:
        pytest.fail("\n\n".join(reader.found[page]), pytrace=False)


def _read(page: str, reader: Reader) -> list[str]:
    """Type a page's commands; return what differs. Ends early where what follows would have no ground."""
    wrong = []
    TRANSCRIPTS.mkdir(parents=True, exist_ok=True)
    with (TRANSCRIPTS / f"{page}.txt").open("w") as transcript:
        for block, command in _commands(page, reader):
            answer = reader.type(command)
            print(f"$ {command.text}", *answer.lines, sep="\n", file=transcript, flush=True)
            differs = difference(command.shown, answer.lines)
            if differs is not None:
                wrong.append(_told(command, differs, answer))
            if (answer.code != 0) != ("fails" in block.words):
                return [*wrong, _told(command, f"ended with {answer.code}", answer)]
    return wrong


def _commands(page: str, reader: Reader) -> Iterator[tuple[Block, Command]]:
    """Yield the commands to type; the files that the page shows before them are saved on the way."""
    for block in blocks(ROOT / "docs" / f"{page}.md"):
        if block.language == "yaml" and block.words:
            reader.save(block)
        if block.language == "console" and "shown" not in block.words:
            yield from ((block, command) for command in commands(block))


def _told(command: Command, what: str, answer: Answer) -> str:
    return "\n".join([f"{command.place}: $ {command.text}", what, "It wrote:", *answer.lines[-60:]])
