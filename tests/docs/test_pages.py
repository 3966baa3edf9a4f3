"""What the pages say is so: their links lead somewhere, their manifests are valid, what they name exists."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from hardening_operator.cli.main import COMMANDS, app
from hardening_operator.documents import load_objects
from tests.api.manifests import small
from tests.docs.reasons import failure_reasons, monitor_reasons, reasons_of_no_failure, words_of_the_operator
from tests.support.pages import ROOT, Block, Command, anchors, blocks, commands, links, pages

DOCS = ROOT / "docs"
CHART = ROOT / "charts" / "hardening-operator"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
EVERY_PAGE = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


def _blocks(language: str) -> list[Block]:
    return [block for page in pages() for block in blocks(page) if block.language == language]


def _typed(*programs: str) -> Iterator[Command]:
    """Yield the shown commands that begin with one of ``programs``."""
    for block in _blocks("console"):
        yield from (command for command in commands(block) if command.text.startswith(programs))


@EVERY_PAGE
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    for line, target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}:{line}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}:{line}: {target}"


def test_the_readme_leads_to_every_page() -> None:
    linked = {(ROOT / target.partition("#")[0]).resolve() for _, target in links(ROOT / "README.md")}
    top = set(DOCS.glob("*.md")) | {DOCS / "runbooks" / "README.md", ROOT / "CONTRIBUTING.md"}

    assert sorted(str(page.relative_to(ROOT)) for page in top - linked) == []


def test_the_runbooks_index_names_every_runbook() -> None:
    index = DOCS / "runbooks" / "README.md"
    named = {target for _, target in links(index) if "/" not in target}

    assert named == {file.name for file in index.parent.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("block", [b for b in _blocks("yaml") if "hardening.dev/v1" in b.text], ids=lambda b: b.place)
def test_every_manifest_shown_is_valid(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(block.text)
    found, errors = load_objects(file)

    assert [str(error) for error in errors] == []
    assert found


@pytest.mark.parametrize("block", [b for b in _blocks("yaml") if b.text.startswith("  ")], ids=lambda b: b.place)
def test_every_part_of_a_manifest_shown_is_valid_in_a_whole_one(block: Block, tmp_path: Path) -> None:
    document = small()
    document["spec"] |= yaml.safe_load(block.text)
    file = tmp_path / "shown.yaml"
    file.write_text(json.dumps(document))

    assert [str(error) for error in load_objects(file)[1]] == []


@pytest.mark.parametrize("block", [b for b in _blocks("yaml") if "values.yaml" in b.words], ids=lambda b: b.place)
def test_every_values_file_shown_is_one_the_chart_takes(block: Block) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    jsonschema.Draft7Validator(schema).validate(_over(VALUES, yaml.safe_load(block.text)))


def _over(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with ``given`` over them, as helm does it."""
    merged = dict(values)
    for name, value in given.items():
        merged[name] = _over(values[name], value) if isinstance(value, dict) and name in values else value
    return merged


def test_a_manifest_that_is_a_file_of_the_repository_is_shown_as_it_is() -> None:
    shown = [(block, ROOT / block.words[0]) for block in _blocks("yaml") if block.words]
    of_repository = [(block, file) for block, file in shown if "/" in block.words[0]]

    assert of_repository
    for block, file in of_repository:
        assert block.text == file.read_text(), block.place


@EVERY_PAGE
def test_every_make_target_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^ *\$ |`)make ((?:[a-z0-9-]+ ?)+)", page.read_text(), re.MULTILINE))

    assert {word for words in named for word in words.split()} <= targets


@EVERY_PAGE
def test_every_hardening_command_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?:^ *\$ |`)(?:kubectl )?hardening ([a-z]+)", page.read_text(), re.MULTILINE))

    assert named <= set(COMMANDS)


@pytest.mark.parametrize("command", list(_typed("hardening ", "kubectl hardening ")), ids=lambda c: c.place)
def test_every_hardening_command_shown_has_the_options_it_is_shown_with(command: Command) -> None:
    words = shlex.split(command.text.partition("|")[0], comments=True)
    name, *rest = words[words.index("hardening") + 1 :]
    group: Any = typer.main.get_command(app)
    known = {option for parameter in group.params for option in parameter.opts} | {"--help"}
    if not name.startswith("-"):
        known |= {option for parameter in group.get_command(None, name).params for option in parameter.opts}
        assert not COMMANDS[name].takes_any_option or name in ("score", "judge")
    used = {word.partition("=")[0] for word in (name, *rest) if word.startswith("-")}

    assert name in ("score", "judge") or used <= known


def test_every_value_that_a_page_sets_is_one_of_the_chart() -> None:
    set_by_commands = [word for command in _typed("helm ") for word in re.findall(r"--set '?([\w.]+)=", command.text)]
    in_tables = re.findall(r"^\| `([\w.]+)(?:=\w+)?`.* \|", (DOCS / "install.md").read_text(), re.MULTILINE)

    assert len(in_tables) > 8
    for path in {*set_by_commands, *in_tables} - {"replicaCount"}:  # shown as refused
        level: Any = VALUES
        for part in path.split("."):
            assert part in level, path
            level = level[part]


def _reasons_listed(*, of_monitors: bool) -> list[str]:
    """Return the reasons in the tables of the troubleshooting page."""
    sections = (DOCS / "troubleshooting.md").read_text().split("\n## ")
    chosen = [section for section in sections if section.startswith("Monitors\n") is of_monitors]
    rows = re.findall(r"^\| (`[A-Z]\w+`(?:, `[A-Z]\w+`)*) \|(.*)", "\n".join(chosen), re.MULTILINE)
    beside = [word for _, rest in rows for word in re.findall(r"\(`([A-Z][a-z]\w+)`\)", rest)]
    return [word for cell, _ in rows for word in re.findall(r"\w+", cell)] + beside


def test_troubleshooting_has_every_reason_of_a_run_and_no_other() -> None:
    listed = _reasons_listed(of_monitors=False)

    assert len(listed) == len(set(listed))
    assert set(listed) == failure_reasons() | reasons_of_no_failure()


def test_troubleshooting_has_every_reason_of_a_monitor_and_none_that_does_not_exist() -> None:
    listed = set(_reasons_listed(of_monitors=True))

    assert listed >= monitor_reasons() - {"Pending"}  # not looked at yet
    assert listed <= words_of_the_operator()


@pytest.mark.parametrize("page", ["run-locally.md", "runbooks/RunFailed.md"])
def test_other_pages_name_no_reason_that_does_not_exist(page: str) -> None:
    listed = re.findall(r"^\| `?([A-Z][a-z]+[A-Z][A-Za-z]+)`?(?:, `([A-Za-z]+)`)? \|", (DOCS / page).read_text(), re.M)

    assert listed
    assert {reason for found in listed for reason in found if reason} <= failure_reasons()


@EVERY_PAGE
def test_every_file_of_the_code_named_exists(page: Path) -> None:
    named = set(
        re.findall(r"`((?:crds|operator|trainer_image|tools|tests|charts|benchmarks)/[\w./-]+)`", page.read_text())
    )

    assert {
        name for name in named if not name.startswith("benchmarks/results/") and not (ROOT / name).exists()
    } == set()


def test_the_four_walks_through_the_code_name_no_file_twice() -> None:
    text = (DOCS / "architecture.md").read_text().split("### Four walks through the code")[1]
    walks = [
        re.findall(r"`((?:crds|operator|trainer_image)/[\w./]+\.py)`", part) for part in re.split(r"\n\*\*", text)[1:]
    ]

    assert [len(walk) > 4 and len(walk) == len(set(walk)) for walk in walks] == [True] * 4


def test_the_layers_shown_are_in_the_order_that_the_linter_checks() -> None:
    text = (DOCS / "architecture.md").read_text()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for package, words in (("hardening_operator", "operator"), ("hardening_trainer", "trainer")):
        [layers] = [c["layers"] for c in contracts if c["type"] == "layers" and c["containers"] == [package]]
        rank = {name.strip(): place for place, layer in enumerate(layers) for name in re.split(r"[|:]", layer)}
        table = text.split(f"| layer of the {words} |", 1)[1].split("\n\n", 1)[0]
        shown = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines()[2:]]
        ranks = [rank[name] for names in shown for name in names if name in rank]

        assert len(ranks) > 5
        assert ranks == sorted(ranks), package
