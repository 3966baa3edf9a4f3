"""The JSON schema of a kind with every reference inlined: errors, CRD and reference are made from it."""

from __future__ import annotations

from functools import cache
from typing import Any

from hardening_api.base import Contract

JsonSchema = dict[str, Any]


@cache
def schema_of(model: type[Contract]) -> JsonSchema:
    """Return the schema of ``model`` without `$ref`; each object carries its model's name as `title`.

    A field that may be left out has no `null` branch: leaving it out is the way to say nothing.
    """
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    return _inlined(schema, definitions)


def _inlined(schema: JsonSchema, definitions: dict[str, JsonSchema]) -> JsonSchema:
    own = dict(schema)
    if "$ref" in own:
        own = {**definitions[own.pop("$ref").removeprefix("#/$defs/")], **own}
    branches = [branch for branch in own.pop("anyOf", []) if branch != {"type": "null"}]
    if len(branches) == 1:
        return _inlined({**branches[0], **own}, definitions)
    if branches:
        own["anyOf"] = [_inlined(branch, definitions) for branch in branches]
    if own.get("default", 0) is None:
        del own["default"]
    if "properties" not in own:
        own.pop("title", None)  # pydantic titles plain fields too; here a title is the name of a model
    else:
        own["properties"] = {name: _inlined(field, definitions) for name, field in own["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(own.get(keyword), dict):
            own[keyword] = _inlined(own[keyword], definitions)
    return own


def child_schema(schema: JsonSchema, key: str | int) -> JsonSchema:
    """Return the schema of one field, list item or map value; an empty one where anything is allowed."""
    if isinstance(key, int):
        found = schema.get("items")
    else:
        found = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else {}


def without_nulls(value: Any) -> Any:
    """Return plain data without the fields that say nothing."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
