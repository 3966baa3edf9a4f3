"""The project's own distributions, and what installing one installs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    folder: tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
    for folder in ("crds", "operator", "trainer_image")
}
"""The pyproject.toml of each, by its folder."""
_OURS = {document["project"]["name"]: document["project"] for document in DISTRIBUTIONS.values()}


def all_it_needs(name: str, *extras: str) -> set[str]:
    """Return the names of everything that installing ``name`` with ``extras`` installs, itself included.

    Ours are read from their pyproject.toml, the others from what is installed here.
    """
    found: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        one, extra = waiting.pop()
        if (one, extra) not in found:
            found.add((one, extra))
            for needed in _requirements(one, extra):
                waiting += [(canonicalize_name(needed.name), more) for more in ("", *needed.extras)]
    return {one for one, _ in found}


def _requirements(name: str, extra: str) -> list[Requirement]:
    if name in _OURS:
        lines = _OURS[name]["optional-dependencies"][extra] if extra else _OURS[name]["dependencies"]
    else:
        lines = requires(name) or []
    needed = [Requirement(line) for line in lines]
    return [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]


def locked(lock: Path) -> dict[str, str]:
    """Return the text of every package's entry in ``lock`` by its name, without comments and markers."""
    entries = re.split(r"\n(?=[a-z0-9])", "\n" + re.sub(r"\n\s*#.*", "", lock.read_text()))
    found = [re.match(r"([a-z0-9-]+)(==\S+)[^\\]*((?s:.*))", entry) for entry in entries]
    return {entry[1]: entry[2] + entry[3].rstrip() for entry in found if entry}


def built_wheel(folder: str, target: Path) -> Path:
    """Build the wheel of the distribution in ``folder`` into ``target``; needs no network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT / folder, capture_output=True, check=True)
    (wheel,) = target.glob(f"{DISTRIBUTIONS[folder]['project']['name'].replace('-', '_')}-*.whl")
    return wheel


def install(wheels: list[Path], others: set[str], site: Path) -> None:
    """Fill ``site`` as an installer would: ``wheels`` unpacked, and the packages ``others`` linked to those here."""
    site.mkdir()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    for name in others:
        for file in distribution(name).files or []:
            link = site / file.parts[0]
            if file.parts[0] != ".." and not link.exists():
                link.symlink_to(Path(str(distribution(name).locate_file(file.parts[0]))).resolve())
