"""values.yaml and values.schema.json say the same, and the schema refuses what is not there. Needs no helm."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.helm import CHART, Object

SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text())
NOT_IN_VALUES = {"global"}  # Helm's own
OWN_TESTS = {"monitoring"}


def _problems(values: Object) -> list[str]:
    validator = jsonschema.Draft7Validator(SCHEMA)
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(values)]


def _changed(path: str, value: Any) -> Object:
    values: Object = json.loads(json.dumps(VALUES))
    *above, last = path.split(".")
    level = values
    for part in above:
        level = level[part]
    level[last] = value
    return values


def test_the_schema_is_one_itself() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_the_default_values_are_valid() -> None:
    assert _problems(VALUES) == []


def test_values_and_schema_know_the_same_names() -> None:
    _compare(VALUES, SCHEMA, "")


def _compare(values: Object, schema: Object, path: str) -> None:
    if "properties" not in schema:
        return
    skipped = NOT_IN_VALUES | OWN_TESTS if not path else set()
    assert set(values) - skipped == set(schema["properties"]) - skipped, path or "top"
    assert schema["additionalProperties"] is False, path
    for name in set(values) - skipped:
        if isinstance(values[name], dict):
            _compare(values[name], schema["properties"][name], f"{path}.{name}")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("replicaCount", 2, "'replicaCount' was unexpected"),
        ("operator.worker", 2, "'worker' was unexpected"),
        ("replicas", 0, "replicas: 0 is less than the minimum of 1"),
        ("replicas", "two", "replicas: 'two' is not of type 'integer'"),
        ("operator.resyncSeconds", 1.5, "operator.resyncSeconds: 1.5 is not of type 'integer'"),
        ("image.digest", "sha256:12", "image.digest: 'sha256:12' does not match"),
        ("image.registry", "https://registry.example", "image.registry: 'https://registry.example' does not match"),
        ("watchNamespaces", ["Safety"], "watchNamespaces.0: 'Safety' does not match"),
        ("watchNamespaces", ["a", "a"], "watchNamespaces: ['a', 'a'] has non-unique elements"),
        ("workspace.accessMode", "ReadOnlyMany", "workspace.accessMode: 'ReadOnlyMany' is not one of"),
        ("workspace.size", "50 GB", "workspace.size: '50 GB' does not match"),
        ("ports.metrics", 80, "ports.metrics: 80 is less than the minimum of 1024"),
        ("resources.limits", {"memory": "half"}, "resources.limits.memory: 'half' does not match"),
        ("leaderElection.enabled", False, "replicas: 2 is greater than the maximum of 1"),
        ("networkPolicy.apiServerPorts", [], "networkPolicy.apiServerPorts: [] should be non-empty"),
        ("podDisruptionBudget.maxUnavailable", 0, "podDisruptionBudget.maxUnavailable: 0 is less than the minimum"),
    ],
)
def test_a_wrong_value_is_refused_by_name(path: str, value: Any, words: str) -> None:
    (problem,) = _problems(_changed(path, value))

    assert words in problem
