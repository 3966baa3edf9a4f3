from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hardening_api.validation import validate_run
from tests.api.manifests import FAULTS, OTHER_WORKSPACES, Fault, full, patched, small
from tools.generate.crd import build_crd
from tools.generate.kinds import KINDS, Kind
from tools.generate.reference import build_reference

ROOT = Path(__file__).resolve().parents[2]
Schema = dict[str, Any]


def crd_schema() -> Schema:
    [version] = build_crd(KINDS["HardeningRun"])["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Schema, at: str = "") -> Iterator[tuple[str, Schema]]:
    """Every typed node of a structural schema with its path."""
    yield at, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{at}.{name}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in schema:
            yield from nodes(schema[keyword], at + mark)


OURS = [(at, node) for at, node in nodes(crd_schema()) if at.startswith((".spec", ".status"))]


def as_the_server_checks(schema: Schema) -> Schema:
    """The structural schema in words of JSON Schema 7, with unknown fields refused as `kubectl apply` refuses them."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "default"}
    for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if made.pop(flag, False):
            made[flag] = made.pop(bound)
    if "pattern" in schema:  # at the end Go's `$` takes no line break, Python's does
        made["pattern"] = schema["pattern"].removesuffix("$") + r"\Z"
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            made[keyword] = as_the_server_checks(schema[keyword])
    if "properties" in schema:
        made["properties"] = {name: as_the_server_checks(field) for name, field in schema["properties"].items()}
        made["additionalProperties"] = False
    return made


def server_errors(document: dict[str, Any]) -> list[str]:
    schema = as_the_server_checks(crd_schema())
    schema["properties"]["metadata"] = {"type": "object"}
    return [error.json_path for error in jsonschema.Draft7Validator(schema).iter_errors(document)]


def rule_messages() -> list[str]:
    return [
        rule["message"].removeprefix("metadata.name: ").removeprefix("expected ")
        for _, node in nodes(crd_schema())
        for rule in node.get("x-kubernetes-validations", [])
    ]


@pytest.mark.parametrize(("at", "node"), OURS, ids=[at for at, _ in OURS])
def test_every_node_has_a_type_and_bounds(at: str, node: Schema) -> None:
    two_types = node.get("x-kubernetes-int-or-string") or at == ".spec.evaluation.judges[].model"
    assert ("type" in node) != bool(two_types)
    kind = node.get("type", "string")
    if kind == "string":
        assert "enum" in node or "maxLength" in node
    elif kind in ("integer", "number"):
        assert {"minimum", "maximum"} <= set(node)
    elif kind == "array":
        assert "maxItems" in node
    elif kind == "object" and "properties" not in node:
        assert "maxProperties" in node


@pytest.mark.parametrize(("at", "node"), OURS, ids=[at for at, _ in OURS])
def test_every_field_is_described(at: str, node: Schema) -> None:
    if not at.endswith(("[]", "{}")):
        assert node["description"]


def test_the_schema_is_structural() -> None:
    for at, node in nodes(crd_schema()):
        assert not {"$ref", "anyOf", "oneOf", "allOf", "not", "title", "const"} & set(node) or at.endswith("judges[]")
        assert not ("properties" in node and "additionalProperties" in node)
        assert isinstance(node.get("exclusiveMinimum", True), bool)
        assert isinstance(node.get("exclusiveMaximum", True), bool)


def test_judges_and_conditions_are_lists_with_keys() -> None:
    keys = {at: node["x-kubernetes-list-map-keys"] for at, node in OURS if "x-kubernetes-list-map-keys" in node}
    assert keys == {".spec.evaluation.judges": ["name"], ".status.conditions": ["type"]}


@pytest.mark.parametrize(
    "document",
    [small(), full(), *(patched(full(), "spec.workspace", workspace) for workspace in OTHER_WORKSPACES)],
    ids=["small", "full", "claim", "s3"],
)
def test_the_cluster_takes_what_is_valid_offline(document: dict[str, Any]) -> None:
    assert not isinstance(validate_run(document), list)
    assert server_errors(document) == []


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.cluster == "Schema"], ids=lambda fault: f"{fault.at}={fault.put[:20]}"
)
def test_the_schema_refuses_what_is_refused_offline(fault: Fault) -> None:
    assert server_errors(fault.document())


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.cluster == "Rule"], ids=lambda fault: f"{fault.at}={fault.put[:20]}"
)
def test_a_rule_of_the_cluster_says_the_same_as_offline(fault: Fault) -> None:
    assert server_errors(fault.document()) == []
    errors = validate_run(fault.document())
    assert isinstance(errors, list)
    assert any(errors[0].expected.startswith(message) for message in rule_messages())


def test_a_started_run_has_a_rule_for_each_field_that_is_fixed() -> None:
    fixed = {
        rule["fieldPath"].removeprefix(".spec.")
        for rule in crd_schema()["x-kubernetes-validations"]
        if "oldSelf" in rule["rule"]
    }
    changeable = {"suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished"}
    assert fixed == set(crd_schema()["properties"]["spec"]["properties"]) - changeable


def defaulted(schema: Schema, value: Any) -> Any:
    """What the API server stores: defaults filled in, outermost first."""
    if isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            if name not in value and "default" in field:
                value = {**value, name: field["default"]}
            if name in value:
                value = {**value, name: defaulted(field, value[name])}
    if isinstance(value, list) and "items" in schema:
        return [defaulted(schema["items"], item) for item in value]
    return value


@pytest.mark.parametrize("document", [small(), full()], ids=["small", "full"])
def test_defaults_filled_in_by_the_cluster_change_no_meaning(document: dict[str, Any]) -> None:
    stored = defaulted(crd_schema(), document)
    assert stored != document
    assert server_errors(stored) == []
    assert validate_run(stored) == validate_run(document)


def test_status_has_no_defaults() -> None:
    assert [at for at, node in OURS if at.startswith(".status") and "default" in node] == []


def test_printer_columns_show_fields_of_the_status() -> None:
    [version] = build_crd(KINDS["HardeningRun"])["spec"]["versions"]
    paths = {at for at, _ in OURS}
    columns = {column["name"]: column["jsonPath"] for column in version["additionalPrinterColumns"]}
    assert list(columns) == ["Phase", "Reason", "Round", "Harm before", "Harm after", "Win rate", "Age"]
    fields = {re.sub(r"\[\?.*?\]", "[]", path) for path in columns.values() if path.startswith(".status")}
    assert fields <= paths


def test_generated_files_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "tools.generate", "--check"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_reference_has_a_row_for_every_field_and_a_target_for_every_link() -> None:
    lines = build_reference().splitlines()
    titles = {line.removeprefix("## ").lower() for line in lines if line.startswith("## ")}
    for at, _ in OURS:
        name = at.rstrip("[]{}").rsplit(".", 1)[-1]
        assert any(line.startswith(f"| `{name}` |") for line in lines), at
    linked = {part.split(")")[0] for line in lines for part in line.split("](#")[1:]}
    assert linked
    assert linked <= titles


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_has_bounded_text_lists_and_numbers(kind: Kind) -> None:
    schema = build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    unbounded = [
        at
        for at, node in nodes(schema)
        if at.startswith((".spec", ".status"))
        and (
            (node.get("type") == "string" and not {"maxLength", "enum", "pattern", "format"} & node.keys())
            or (node.get("type") == "array" and "maxItems" not in node)
        )
    ]
    assert unbounded == []


def test_an_approval_is_fixed_once_written_and_names_a_candidate_by_digest() -> None:
    schema = build_crd(KINDS["PromotionApproval"])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "self.spec == oldSelf.spec" in [rule["rule"] for rule in schema["x-kubernetes-validations"]]
    assert schema["properties"]["spec"]["required"] == ["run", "candidate", "approver"]
    assert "status" not in schema["properties"]
