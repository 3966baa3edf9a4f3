"""The custom resource definitions, made from the models of their kinds.

Kubernetes takes *structural* schemas only: every field typed, no references, no `null` branch, unknown fields pruned
or refused by the server and not by `additionalProperties: false`, and `exclusiveMinimum` a flag beside `minimum`.
"""

from __future__ import annotations

from typing import Any

from hardening_api.base import API_GROUP, API_VERSION
from hardening_api.schema import JsonSchema, schema_of, without_nulls
from tools.generate.crd_rules import JUDGE_MODELS, LIST_KEYS, MODEL_RULES, root_rules
from tools.generate.kinds import Kind

COPIED = (
    "description",
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
)


def build_crd(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind as plain data, ready for YAML; equal for equal models."""
    has_status = "status" in schema_of(kind.model)["properties"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{API_GROUP}"},
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["hardening"],
            },
            "versions": [
                {
                    "name": API_VERSION.removeprefix(f"{API_GROUP}/"),
                    "served": True,
                    "storage": True,
                    **({"subresources": {"status": {}}} if has_status else {}),
                    "additionalPrinterColumns": [dict(column) for column in kind.columns],
                    "schema": {"openAPIV3Schema": _root(kind)},
                }
            ],
        },
    }


def _root(kind: Kind) -> dict[str, Any]:
    schema = schema_of(kind.model)
    fields = schema["properties"]
    name = fields["metadata"]["properties"]["name"]
    spec = structural(fields["spec"])
    return {
        "description": schema["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": fields["apiVersion"]["description"]},
            "kind": {"type": "string", "description": fields["kind"]["description"]},
            "metadata": {"type": "object"},  # the API server checks it and refuses rules of ours here
            "spec": spec,
            **({"status": structural(fields["status"], defaults=False)} if "status" in fields else {}),
        },
        "x-kubernetes-validations": root_rules(kind.name, name["pattern"], name["maxLength"], spec),
    }


def structural(schema: JsonSchema, *, defaults: bool = True) -> dict[str, Any]:
    """Turn an inlined JSON schema into a structural one.

    Defaults are left out of status, which has one writer, and where they would only add empty objects and lists.
    """
    if "anyOf" in schema and not schema.get("x-kubernetes-int-or-string"):
        return _of_two_types(schema)
    made: dict[str, Any] = {keyword: schema[keyword] for keyword in COPIED if keyword in schema}
    if "const" in schema:
        made["enum"] = [schema["const"]]
    for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if flag in schema:
            made |= {bound: schema[flag], flag: True}
    if defaults and (default := _default(schema)) is not None:
        made["default"] = default
    if "properties" in schema:
        made["properties"] = {
            name: structural(field, defaults=defaults) for name, field in schema["properties"].items()
        }
    elif isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = structural(schema["additionalProperties"], defaults=defaults)
    if "items" in schema:
        made["items"] = structural(schema["items"], defaults=defaults)
        made |= _list_type(schema["items"])
    return made | _rules(schema)


def _of_two_types(schema: JsonSchema) -> dict[str, Any]:
    """Text or an object: a field without a type, bounded in both."""
    text, record = (
        next(branch for branch in schema["anyOf"] if branch["type"] == kind) for kind in ("string", "object")
    )
    return {
        "description": schema["description"],
        "minLength": text["minLength"],
        "maxLength": text["maxLength"],
        "maxProperties": len(record["properties"]),
        "x-kubernetes-preserve-unknown-fields": True,
    }


def _list_type(items: JsonSchema) -> dict[str, Any]:
    key = LIST_KEYS.get(items.get("title", ""))
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]} if key else {}


def _rules(schema: JsonSchema) -> dict[str, Any]:
    model = schema.get("title", "")
    rules = MODEL_RULES.get(model)
    own = {"x-kubernetes-validations": [dict(rule) for rule in rules]} if rules else {}
    return own | (JUDGE_MODELS if model == "Judge" else {})


def _default(schema: JsonSchema) -> Any:
    """Return the default to write, or None for none.

    An object becomes `{}`, which the API server fills from its fields' own defaults; one that has none is left out. So
    are gates: written out, the default over-refusal gate would ask for benign prompts of a run that named no gate.
    """
    if schema.get("title") == "Gates":
        return None
    default = schema.get("default")
    if isinstance(default, dict) and "properties" in schema:
        return {} if _has_defaults(schema) else None
    return (without_nulls(default) or None) if isinstance(default, list | dict) else default


def _has_defaults(schema: JsonSchema) -> bool:
    return any(_default(field) is not None for field in schema["properties"].values())
