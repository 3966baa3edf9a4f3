"""The API reference, in Markdown, made from the models."""

from __future__ import annotations

import json
from typing import Any

from hardening_api.base import API_VERSION
from hardening_api.schema import JsonSchema, without_nulls
from hardening_api.validation import describe
from tools.generate.kinds import KINDS

HEAD = f"""# API reference: `{API_VERSION}`

Made from `crds/hardening_api` by `make generate`; do not edit. One table a type. A field without a default and without
*required* may be left out. `hardening validate FILE` checks a manifest against all of this, and so does the cluster.
"""


def build_reference() -> str:
    """Return one table for each type of each kind, in the order in which a reader meets them."""
    types: dict[str, JsonSchema] = {}
    definitions: dict[str, JsonSchema] = {}
    for kind in KINDS.values():
        schema = kind.model.model_json_schema(by_alias=True)
        definitions |= schema.pop("$defs", {})
        types[kind.name] = schema
        for name in _met(schema, definitions):
            types.setdefault(name, definitions[name])
    return "\n".join([HEAD, *(_section(name, types[name], definitions) for name in types)])


def _met(schema: JsonSchema, definitions: dict[str, JsonSchema]) -> list[str]:
    """Walk breadth first: a type stands near the one that names it."""
    queue, met = [schema], list[str]()
    while queue:
        for field in queue.pop(0).get("properties", {}).values():
            for name in _references(field):
                if name not in met:
                    met.append(name)
                    queue.append(definitions[name])
    return met


def _references(field: Any) -> list[str]:
    if isinstance(field, list):
        return [name for item in field for name in _references(item)]
    if not isinstance(field, dict):
        return []
    own = [field["$ref"].removeprefix("#/$defs/")] if "$ref" in field else []
    return own + [name for key, value in field.items() if key != "default" for name in _references(value)]


def _section(name: str, schema: JsonSchema, definitions: dict[str, JsonSchema]) -> str:
    required = schema.get("required", [])
    always = ["apiVersion", "kind"] if name in KINDS else []
    rows = [
        _row(field, field_schema, field in required or field in always, definitions)
        for field, field_schema in schema["properties"].items()
    ]
    head = ["| field | type | default | takes | description |", "|---|---|---|---|---|"]
    return "\n".join([f"## {name}", "", schema["description"], "", *head, *rows, ""])


def _row(name: str, schema: JsonSchema, required: bool, definitions: dict[str, JsonSchema]) -> str:
    default = "*required*" if required else _default(schema, definitions)
    described = schema if "description" in schema else definitions[schema["$ref"].removeprefix("#/$defs/")]
    cells = (f"`{name}`", _type(schema), default, _takes(schema), described["description"])
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _branches(schema: JsonSchema) -> list[JsonSchema]:
    return [branch for branch in schema.get("anyOf", [schema]) if branch != {"type": "null"}]


def _type(schema: JsonSchema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    names = [_branch_type(branch) for branch in _branches(schema)]
    return " or ".join(names)


def _branch_type(schema: JsonSchema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    return "quantity" if schema.get("x-kubernetes-int-or-string") else str(schema["type"])


def _takes(schema: JsonSchema) -> str:
    told = [branch for branch in _branches(schema) if "$ref" not in branch]
    return " or ".join(describe(branch) for branch in told)


def _default(schema: JsonSchema, definitions: dict[str, JsonSchema]) -> str:
    default = without_nulls(schema.get("default"))
    if not default and not isinstance(default, int | float):
        return ""
    if "$ref" in schema:
        fields = definitions[schema["$ref"].removeprefix("#/$defs/")]["properties"]
        if default == without_nulls({name: field.get("default") for name, field in fields.items()}):
            return "its fields' defaults"
    return f"`{json.dumps(default)}`"
