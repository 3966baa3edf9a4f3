"""Our wheels, built and installed beside nothing but what they ask for."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.distributions import DISTRIBUTIONS, ROOT, all_it_needs, built_wheel, install

OURS = {"hardening-api", "hardening-operator"}
IMPORT_ALL_BUT = """
import importlib, pkgutil, sys, hardening_operator
left_out = tuple(sys.argv[1:])
for module in pkgutil.walk_packages(hardening_operator.__path__, "hardening_operator."):
    if not module.name.startswith(left_out) and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
SCRIPT = """
import sys
from importlib.metadata import entry_points
(script,) = entry_points(group="console_scripts", name=sys.argv[1])
sys.argv = sys.argv[1:]
script.load()()
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    target = tmp_path_factory.mktemp("wheels")
    return {folder: built_wheel(folder, target) for folder in DISTRIBUTIONS}


class Installation:
    """A folder of packages, and a Python that sees no others."""

    def __init__(self, wheels: dict[str, Path], site: Path, *extras: str) -> None:
        self.site = site
        install([wheels["crds"], wheels["operator"]], all_it_needs("hardening-operator", *extras) - OURS, site)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        start = f"import sys; sys.path.insert(0, {str(self.site)!r}); "
        flag, code, *rest = arguments
        assert flag == "-c"
        command = [sys.executable, "-I", "-S", "-c", start + "\n" + code, *rest]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.site.parent)

    def hardening(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("-c", SCRIPT, "hardening", *arguments)


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_a_wheel_holds_its_own_package_and_licence_and_nothing_else(folder: str, wheels: dict[str, Path]) -> None:
    package = DISTRIBUTIONS[folder]["project"]["name"].replace("-", "_")
    with zipfile.ZipFile(wheels[folder]) as archive:
        names = archive.namelist()
    source = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder / package).rglob("*.py")}

    assert {name.split("/")[0] for name in names} == {package, f"{wheels[folder].name.split('-py3')[0]}.dist-info"}
    assert {name for name in names if name.endswith(".py")} == source
    assert f"{package}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_without_extras_everything_but_the_command_line_and_the_report_is_imported(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    plain = Installation(wheels, tmp_path / "site")
    done = plain.python("-c", IMPORT_ALL_BUT, "hardening_operator.cli", "hardening_operator.report")

    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"hardening_operator", "hardening_api", "kopf", "kubernetes"} <= loaded
    assert loaded.isdisjoint({"matplotlib", "numpy", "torch", "typer", "rich", "jinja2"})

    called = plain.hardening("--version")
    assert (called.returncode, called.stdout) == (1, "")
    assert called.stderr == (
        "hardening: not installed with its command line: pip install 'hardening-operator[cli,report]'\n"
    )


def test_with_the_command_line_alone_a_report_and_a_local_run_say_what_to_install(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    here = Installation(wheels, tmp_path / "site", "cli")
    (tmp_path / "run" / "rounds").mkdir(parents=True)

    version = here.hardening("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("hardening ")

    report = here.hardening("report", str(tmp_path / "run"))
    assert report.returncode == 2
    assert report.stderr.endswith(" is not installed: pip install 'hardening-operator[report]'\n")

    judge = here.hardening("judge", "--type", "RefusalPattern", "answers.jsonl")
    assert judge.returncode == 2
    assert (
        judge.stderr == "hardening: models cannot run here without hardening-trainer: pip install hardening-trainer\n"
    )

    run = here.hardening("run", str(ROOT / "examples" / "smollm2-135m.yaml"), "--workspace", str(tmp_path / "new"))
    assert run.returncode == 2
    assert run.stderr.endswith(": models cannot run here without hardening-trainer: pip install hardening-trainer\n")


def test_with_all_extras_the_whole_package_is_imported(wheels: dict[str, Path], tmp_path: Path) -> None:
    done = Installation(wheels, tmp_path / "site", "cli", "report").python("-c", IMPORT_ALL_BUT)

    assert done.returncode == 0, done.stderr
    assert {"typer", "rich", "matplotlib", "jinja2"} <= set(done.stdout.split())
