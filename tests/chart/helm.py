"""The real helm, on this machine's chart: never a cluster."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "hardening-operator"
NAMESPACE = "hardening-system"
NAME = "release-hardening-operator"


class _Loader(yaml.CSafeLoader):
    """Reads `5e-06` as a number, as kubectl does."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"-?[0-9]+e[-+]?[0-9]+"), list("-0123456789"))


def find_tool(name: str) -> str:
    """Path of a program on PATH or built by the cluster's bring-up; without one the test is skipped."""
    cache = Path(os.environ.get("HARDENING_CLUSTER_CACHE") or Path.home() / ".cache" / "hardening-cluster")
    found = shutil.which(name) or shutil.which(name, path=str(cache / "bin"))
    if found is None:
        pytest.skip(f"no {name} on PATH; `python -m tools.cluster tools {name}` builds it")
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm, without any kubeconfig."""
    environ = {**os.environ, "KUBECONFIG": os.devnull}
    return subprocess.run(
        [find_tool("helm"), *arguments], capture_output=True, text=True, timeout=60, check=False, env=environ
    )


def render_text(values: Object | None = None) -> str:
    """Return what `helm template` prints for the default values with ``values`` over them."""
    return _rendered(json.dumps(values or {}, sort_keys=True))


def render(values: Object | None = None) -> list[Object]:
    """Return the rendered objects."""
    return [document for document in yaml.load_all(render_text(values), Loader=_Loader) if document]


def refusal(values: Object) -> str:
    """Return helm's words on values that it must refuse."""
    done = _template(json.dumps(values))
    assert done.returncode != 0, "helm took them"
    return done.stderr


def notes(values: Object | None = None) -> str:
    """Return NOTES.txt as `helm install` shows it."""
    command = ("install", "release", str(CHART), "--namespace", NAMESPACE, "--dry-run=client")
    done = helm(*command, "--set-json", _as_sets(json.dumps(values or {})))
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Return the objects of one kind."""
    return [document for document in objects if document["kind"] == kind]


def one(objects: list[Object], kind: str) -> Object:
    """Return the only object of a kind."""
    (found,) = of_kind(objects, kind)
    return found


def pod_specs(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield name and spec of every pod that these objects make."""
    for document in objects:
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], document["spec"]
        elif "template" in document.get("spec", {}):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


@functools.cache
def _rendered(values: str) -> str:
    done = _template(values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _template(values: str) -> subprocess.CompletedProcess[str]:
    return helm(
        "template",
        "release",
        str(CHART),
        "--namespace",
        NAMESPACE,
        "--set-json",
        _as_sets(values),
        "--kube-version=1.34",
    )


def _as_sets(values: str) -> str:
    return values if values != "{}" else '{"global":{}}'
