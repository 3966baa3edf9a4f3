"""The one validation of a document of any kind: every fault as one line that names the field."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hardening_api.approval import PromotionApproval
from hardening_api.base import API_VERSION, QUANTITY_EXPECTED, Contract, ExpectationError
from hardening_api.monitor import HardeningMonitor
from hardening_api.run import HardeningRun
from hardening_api.schema import JsonSchema, child_schema, schema_of

Path = tuple[str | int, ...]
Model = TypeVar("Model", bound=Contract)
LONGEST_VALUE = 80
KINDS: dict[str, type[Contract]] = {kind.__name__: kind for kind in (HardeningRun, PromotionApproval, HardeningMonitor)}
"""The kinds of the API, by name."""


class _Nothing:
    """Stands for a field that is not in the document."""


NOTHING = _Nothing()


@dataclass(frozen=True)
class FieldError:
    """One fault of a document: where it is, what stands there and what was expected instead."""

    path: str
    got: str
    expected: str

    def __str__(self) -> str:
        """Return `spec.path.to.field: got VALUE: expected ...`."""
        where = f"{self.path}: " if self.path else ""
        return f"{where}got {self.got}: expected {self.expected}"


def validate_run(document: Any) -> HardeningRun | list[FieldError]:
    """Return the `HardeningRun` a plain document (as loaded from YAML or JSON) describes, or every fault in it."""
    return validate_as(HardeningRun, document)


def validate_document(document: Any) -> Contract | list[FieldError]:
    """Return the object of whatever kind a plain document describes, or every fault in it."""
    if not isinstance(document, dict) or document.get("kind") is None:
        return validate_run(document)
    kind = KINDS.get(str(document["kind"]))
    if kind is None:
        return [_error(("kind",), document["kind"], f"one of {', '.join(KINDS)}")]
    return validate_as(kind, document)


def validate_as(model: type[Model], document: Any) -> Model | list[FieldError]:
    """Return the object of kind ``model`` a plain document describes, or every fault in it.

    Only camelCase names are read, `apiVersion` and `kind` are required, and `status` is not looked at: it is the
    operator's, whoever else wrote one.
    """
    if not isinstance(document, dict):
        return [_error((), document, "an object with apiVersion, kind, metadata and spec")]
    header = [
        _error((name,), document.get(name, NOTHING), wanted)
        for name, wanted in (("apiVersion", API_VERSION), ("kind", model.__name__))
        if document.get(name) != wanted
    ]
    if any(error.got != "nothing" for error in header):
        return header  # another kind of object: its fields cannot be judged
    wanted_part = {name: value for name, value in document.items() if name != "status"}
    try:
        found = model.model_validate(wanted_part, by_alias=True, by_name=False)
    except ValidationError as refusal:
        errors = _field_errors(schema_of(model), document, refusal)
        return _one_per_field([*header, *errors, *_not_finite((), wanted_part)])
    return [*header, *_not_finite((), wanted_part)] or found


def _one_per_field(errors: list[FieldError]) -> list[FieldError]:
    first: dict[str, FieldError] = {}
    for error in errors:
        first.setdefault(error.path, error)
    return list(first.values())


@dataclass(frozen=True)
class _Fault:
    """A pydantic error whose place was found in the document and the schema."""

    path: Path
    schema: JsonSchema
    details: ErrorDetails
    in_union: bool

    def is_wrong_branch(self) -> bool:
        """Return whether this only says that one branch of a union does not take the value."""
        return self.in_union and self.details["type"].endswith("_type")


def _field_errors(root: JsonSchema, document: Any, refusal: ValidationError) -> list[FieldError]:
    faults = [_located(root, details) for details in refusal.errors(include_url=False)]
    telling = [fault.path for fault in faults if not fault.is_wrong_branch()]
    return [
        _explained(root, document, fault) for fault in faults if not (fault.is_wrong_branch() and _told(fault, telling))
    ]


def _told(fault: _Fault, telling: list[Path]) -> bool:
    return any(path[: len(fault.path)] == fault.path for path in telling)


def _located(root: JsonSchema, details: ErrorDetails) -> _Fault:
    """Walk the schema along the error's location, leaving out the names of union branches."""
    path: list[str | int] = []
    schema = root
    in_union = False
    for part in details["loc"]:
        in_union = len(schema.get("anyOf", [])) > 1
        if in_union:
            named = [branch for branch in schema["anyOf"] if branch.get("title") == part]
            schema = {**(named[0] if named else {}), "branches": schema["anyOf"]}
            continue
        path.append(part)
        schema = child_schema(schema, part)
    return _Fault(tuple(path), schema, details, in_union)


def _explained(root: JsonSchema, document: Any, fault: _Fault) -> FieldError:
    kind = fault.details["type"]
    if kind == "extra_forbidden":
        expected = _known_fields(root, fault)
    elif kind == "value_error":
        place, expected = _expectation(cast(ExpectationError, fault.details["ctx"]["error"]))
        path = fault.path + place
        return _error(path, _value_at(document, path), expected)
    else:
        expected = describe(fault.schema)
    return _error(fault.path, _value_at(document, fault.path), expected)


def _expectation(error: ExpectationError) -> tuple[Path, str]:
    """Split `at=relative.path;what was expected` into the path and the words."""
    text = str(error)
    if not text.startswith("at="):
        return (), text
    place, _, expected = text.removeprefix("at=").partition(";")
    return tuple(int(part) if part.isdigit() else part for part in place.split(".")), expected


def _known_fields(root: JsonSchema, fault: _Fault) -> str:
    parent = root
    for part in fault.path[:-1]:
        parent = _object_branch(child_schema(parent, part))
    known = list(parent.get("properties", {}))
    unknown = str(fault.path[-1])
    camel = re.sub(r"_+([a-z0-9])", lambda match: match[1].upper(), unknown)
    near = difflib.get_close_matches(camel, known, n=1, cutoff=0.7)
    return f"a known field: {near[0]}" if near else f"a known field, one of {', '.join(known)}"


def _object_branch(schema: JsonSchema) -> JsonSchema:
    objects = [branch for branch in schema.get("anyOf", []) if branch.get("type") == "object"]
    return objects[0] if objects else schema


def _not_finite(path: Path, value: Any) -> Iterator[FieldError]:
    """Yield the numbers JSON cannot carry; inside free-form fields nothing else refuses them."""
    if isinstance(value, float) and not math.isfinite(value):
        yield _error(path, value, "a finite number")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _not_finite((*path, name), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite((*path, index), item)


def _value_at(document: Any, path: Path) -> Any:
    value = document
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return NOTHING
    return value


def _error(path: Path, value: Any, expected: str) -> FieldError:
    return FieldError(_dotted(path), _shown(value), expected)


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}"
        else:
            text += f"[{json.dumps(part)}]"
    return text.removeprefix(".")


def _shown(value: Any) -> str:
    """Write a value as compact JSON on one line, cut where it grows long."""
    if value is NOTHING:
        return "nothing"
    text = ""
    for piece in json.JSONEncoder(separators=(",", ":"), default=str).iterencode(value):
        text += piece
        if len(text) > LONGEST_VALUE:
            return text[: LONGEST_VALUE - 3] + "..."
    return text


def describe(schema: JsonSchema) -> str:
    """Say in words what a schema takes: `a whole number from 1 to 100`, `one of LoRA, Full`."""
    if "branches" in schema or "anyOf" in schema:
        return " or ".join(describe(branch) for branch in schema.get("branches") or schema["anyOf"])
    if schema.get("x-kubernetes-int-or-string"):
        return QUANTITY_EXPECTED
    if "const" in schema or "enum" in schema:
        names = schema.get("enum") or [schema["const"]]
        return f"one of {', '.join(names)}" if len(names) > 1 else str(names[0])
    return _describe_type(schema)


def _describe_type(schema: JsonSchema) -> str:
    match schema["type"]:
        case "boolean":
            words = "true or false"
        case "integer":
            words = f"a whole number{_range(schema)}"
        case "number":
            words = f"a number{_range(schema)}"
        case "array":
            words = f"a list{_size(schema, 'minItems', 'maxItems', 'items')}"
        case "object":
            words = _describe_object(schema)
        case _:
            words = _describe_text(schema)
    return words


def _range(schema: JsonSchema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}"
    bounds = {
        "at least": low,
        "above": schema.get("exclusiveMinimum"),
        "at most": high,
        "below": schema.get("exclusiveMaximum"),
    }
    named = [f"{word} {_plain(bound)}" for word, bound in bounds.items() if bound is not None]
    return " " + " and ".join(named) if named else ""


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _size(schema: JsonSchema, least: str, most: str, unit: str) -> str:
    low, high = schema.get(least, 0), schema.get(most)
    if high is None:
        return ""
    return f" of {low} to {high} {unit}" if low else f" of at most {high} {unit}"


def _describe_text(schema: JsonSchema) -> str:
    pattern = schema.get("pattern", "")
    size = _size(schema, "minLength", "maxLength", "characters")
    if schemes := re.match(r"\^\(([a-z0-9|]+)\)://", pattern):
        return f"a URI that starts with one of {', '.join(f'{scheme}://' for scheme in schemes[1].split('|'))}"
    if pattern.startswith("^[a-z0-9]("):
        return f"a name of {schema['minLength']} to {schema['maxLength']} lower-case letters, digits and -"
    return f"text{size}"


def _describe_object(schema: JsonSchema) -> str:
    required: Sequence[str] = schema.get("required", [])
    if required:
        return f"an object with {' and '.join(required)}"
    return f"an object{_size(schema, 'minProperties', 'maxProperties', 'entries')}"
