"""Reads manifests the way `kubectl` does: YAML or JSON text in, plain data or a named fault out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from hardening_api.base import Contract
from hardening_api.validation import KINDS, validate_document

Wanted = TypeVar("Wanted", bound=Contract)

READABLE = "a readable YAML or JSON file"
# Go's encoder, and so kubectl, writes smaller whole floats without an exponent: `1e3` reaches the server as 1000.
WHOLE_FLOATS_BELOW = 1e21


class UnreadableDocument(ValueError):
    """A file that holds no documents; the text says where and why: `line 3, column 5: got ...: expected ...`."""


class ObjectFile(NamedTuple):
    """The objects of a file, of any kind, and, line by line, what is wrong in it."""

    objects: list[Contract]
    errors: list[str]


class WrongContent(ValueError):
    """A file that does not hold the one object asked for; a line for each fault."""


def load_objects(path: Path) -> ObjectFile:
    """Read and validate every document of a file.

    Each error is one line without the file's name: `spec.path.to.field: got VALUE: expected ...`, with `document N:`
    before the field where the file holds several.
    """
    try:
        documents = read_documents(path)
    except UnreadableDocument as fault:
        return ObjectFile([], [str(fault)])
    found = ObjectFile([], [])
    for number, document in enumerate(documents, start=1):
        outcome = validate_document(document)
        if isinstance(outcome, Contract):
            found.objects.append(outcome)
        else:
            where = f"document {number}: " if len(documents) > 1 else ""
            found.errors.extend(f"{where}{error}" for error in outcome)
    return found


def load_one(path: Path, kind: type[Wanted]) -> Wanted:
    """Read a file that must hold one object, of ``kind``.

    Raises:
        WrongContent: a fault in the file, or other objects than this one in it.
    """
    objects, errors = load_objects(path)
    if errors:
        raise WrongContent("\n".join(errors))
    if len(objects) == 1 and isinstance(objects[0], kind):
        return objects[0]
    names = ", ".join(named(found) for found in objects)
    raise WrongContent(f"got {names}: expected one {kind.__name__} and nothing else: put it in a file of its own")


def named(found: Any) -> str:
    """Return kind and name of a custom resource: `HardeningRun small`."""
    return f"{found.kind} {found.metadata.name}"


def read_documents(path: Path) -> list[Any]:
    """Return the file's documents as plain data; empty ones are left out, as kubectl does.

    Raises:
        UnreadableDocument: the file cannot be read, is no text, is empty, or is no YAML or JSON.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableDocument("got bytes that are not UTF-8 text: expected YAML or JSON") from None
    except OSError as fault:
        reason = (fault.strerror or type(fault).__name__).lower()
        raise UnreadableDocument(f"got {reason}: expected {READABLE}") from None
    documents = [document for document in _parsed(text) if document is not None]
    if not documents:
        raise UnreadableDocument(f"got nothing: expected one of {', '.join(KINDS)}")
    return documents


def _parsed(text: str) -> list[Any]:
    if text.lstrip().startswith("{"):
        try:
            return [json.loads(text, parse_float=_number, parse_int=_number, object_pairs_hook=_without_repeats)]
        except (ValueError, RecursionError):
            pass  # a flow mapping of YAML, or a fault that the YAML reader places better
    try:
        return list(yaml.load_all(text, Loader=_KubectlLoader))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = fault.problem or fault.context
    except yaml.reader.ReaderError as fault:
        line, column = _place(text, fault.position)
        problem = "a control character"
    except RecursionError:
        line, column, problem = 1, 1, "too many levels of nesting"
    raise UnreadableDocument(f"line {line}, column {column}: got broken YAML ({problem}): expected YAML or JSON")


def _place(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


def _number(text: str) -> int | float:
    """Read a number: whole when kubectl would send it as a whole one."""
    if re.fullmatch(r"[-+]?[0-9]{1,19}", text) and not re.match(r"[-+]?0[0-9]", text):
        return int(text)
    if re.fullmatch(r"[-+]?0[0-7]{1,21}", text):
        return int(text, 8)
    if re.fullmatch(r"[-+]?0[xbo][0-9a-f]{1,64}", text):
        return int(text, 0)
    value = float(re.sub(r"\.(inf|nan)$", r"\1", text))
    return int(value) if abs(value) < WHOLE_FLOATS_BELOW and value.is_integer() else value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a key is given twice")
    return names


class _KubectlLoader(yaml.SafeLoader):
    """YAML as Go's reader has it: `5e-6` is a number, `1:30` and dates are text, a key stands once, keys are text."""

    def plain_sequence(self, node: yaml.SequenceNode) -> list[Any]:
        # Built at once and not lazily, so that a list which contains itself is refused.
        return [self.construct_object(item, deep=True) for item in node.value]

    def plain_mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        self._refuse_repeats(node)
        self.flatten_mapping(node)
        return {self._key(name): self.construct_object(value, deep=True) for name, value in node.value}

    def plain_number(self, node: yaml.ScalarNode) -> int | float:
        try:
            return _number(str(node.value).replace("_", "").lower())
        except ValueError:
            raise _refusal("a number that cannot be read", node) from None

    def _refuse_repeats(self, node: yaml.MappingNode) -> None:
        seen: set[str] = set()
        for name_node, _ in node.value:
            if name_node.tag == "tag:yaml.org,2002:merge":
                continue
            name = self._key(name_node)
            if name in seen:
                raise _refusal(f"the key {json.dumps(name)} stands twice", name_node)
            seen.add(name)

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise _refusal("a key that is no text", node)
        return str(node.value)


def _refusal(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


YAML_TAG = "tag:yaml.org,2002:"
# Tag, pattern and first characters of each kind of unquoted scalar that is no text.
SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", list("yYnNtTfFoO")),
    ("int", r"[-+]?(?:0|0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?", list("-+0123456789.")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)
_KubectlLoader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in SCALARS:
    _KubectlLoader.add_implicit_resolver(f"{YAML_TAG}{_name}", re.compile(rf"^(?:{_pattern})$"), _first)
_KubectlLoader.yaml_constructors = {
    f"{YAML_TAG}null": yaml.SafeLoader.construct_yaml_null,
    f"{YAML_TAG}bool": yaml.SafeLoader.construct_yaml_bool,
    f"{YAML_TAG}int": _KubectlLoader.plain_number,
    f"{YAML_TAG}float": _KubectlLoader.plain_number,
    f"{YAML_TAG}str": yaml.SafeLoader.construct_yaml_str,
    f"{YAML_TAG}seq": _KubectlLoader.plain_sequence,
    f"{YAML_TAG}map": _KubectlLoader.plain_mapping,
    None: yaml.SafeLoader.construct_undefined,
}
