"""All that is rendered is what Kubernetes of the cluster tests takes: kubeconform, with that version's own OpenAPI.

The schemas come from the Kubernetes module the cluster tests are built from, so nothing is fetched.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import CHART, Object, find_tool, helm, render_text
from tools.cluster.settings import KUBERNETES_VERSION

ALL_ON: Object = {
    "imagePullSecrets": [{"name": "registry"}],
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    "nodeSelector": {"pool": "cpu"},
    "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "serviceAccount": {"annotations": {"a": "b"}},
    "podDisruptionBudget": {"maxUnavailable": "50%"},
}


def _openapi() -> Path:
    modules = Path(os.environ.get("GOMODCACHE") or Path(os.environ.get("GOPATH") or Path.home() / "go") / "pkg" / "mod")
    folder = modules / "k8s.io" / f"kubernetes@{KUBERNETES_VERSION}" / "api" / "openapi-spec" / "v3"
    if not folder.is_dir():
        pytest.skip(f"the sources of Kubernetes {KUBERNETES_VERSION} are not in Go's module cache")
    return folder


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one strict JSON schema for each kind, named as kubeconform looks for it."""
    folder = tmp_path_factory.mktemp("schemas")
    for file in [*_openapi().glob("apis__*__v1_openapi.json"), _openapi() / "api__v1_openapi.json"]:
        components = {
            "schemas": {k: _strict(v) for k, v in json.loads(file.read_text())["components"]["schemas"].items()}
        }
        for name, schema in components["schemas"].items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                parts = [kind["kind"].lower(), kind["group"].partition(".")[0], kind["version"]]
                document = {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "allOf": [{"$ref": f"#/components/schemas/{name}"}],
                    "components": components,
                }
                if kind["kind"] not in ("DeleteOptions", "WatchEvent"):
                    (folder / f"{'-'.join(filter(None, parts))}.json").write_text(json.dumps(document))
    return folder


def _strict(schema: Any) -> Any:
    """Refuse fields that the API does not know, and take the integer or text where OpenAPI says so in its own way."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        made["additionalProperties"] = False
    return made


def _conform(text: str, schemas: Path) -> tuple[int, Object]:
    location = str(schemas) + "/{{.ResourceKind}}{{.KindSuffix}}.json"
    command = [find_tool("kubeconform"), "-strict", "-summary", "-output", "json", "-schema-location", location, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    "values", [{}, ALL_ON, {"watchNamespaces": ["safety"]}], ids=["default", "all on", "namespaced"]
)
def test_kubernetes_takes_everything_that_is_rendered(values: Object, schemas: Path) -> None:
    code, answer = _conform(render_text(values), schemas)

    assert (code, answer.get("resources", [])) == (0, [])
    assert answer["summary"]["valid"] >= 15
    assert answer["summary"]["skipped"] == 0


def test_a_field_kubernetes_does_not_know_is_found(schemas: Path) -> None:
    code, answer = _conform(render_text().replace("terminationGracePeriodSeconds", "terminationGraceSeconds"), schemas)

    assert code == 1
    assert "terminationGraceSeconds" in answer["resources"][0]["msg"]


def test_helm_lint_has_nothing_to_say() -> None:
    done = helm("lint", "--strict", str(CHART))

    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


def test_the_package_carries_the_crds_and_nothing_of_the_contract_s_code(tmp_path: Path) -> None:
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tgz")
    names = subprocess.run(["tar", "tzf", archive], capture_output=True, text=True, check=True).stdout.split()

    crds = {Path(name).name for name in names if "/files/crds/" in name}
    assert crds == {file.name for file in (CHART.parents[1] / "crds").glob("*.yaml")}
    assert not [name for name in names if name.endswith(".py")]
