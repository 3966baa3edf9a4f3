"""What every model of the contract shares: strictness, camelCase names and bounded scalar types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_GROUP = "hardening.dev"
ApiVersion = Literal["hardening.dev/v1alpha1"]
API_VERSION: ApiVersion = "hardening.dev/v1alpha1"

MODEL_SCHEMES = ("hf", "file", "package", "s3")
DATA_SCHEMES = ("hf", "file", "package", "s3")
WORKSPACE_SCHEMES = ("file", "s3", "memory")


class Contract(BaseModel):
    """A strict, immutable model whose fields are camelCase outside Python.

    Strict means that text is never read as a number and unknown fields are refused.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        validate_default=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON data, camelCase, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ExpectationError(ValueError):
    """A value was refused; the text says what was expected instead."""


def _pattern(schemes: tuple[str, ...]) -> str:
    return rf"^({'|'.join(schemes)})://\S+$"


def _uri_check(schemes: tuple[str, ...]) -> AfterValidator:
    pattern = re.compile(_pattern(schemes))

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            names = ", ".join(f"{scheme}://" for scheme in schemes)
            raise ExpectationError(f"a URI that starts with one of {names}")
        return value

    return AfterValidator(check)


def uri_type(schemes: tuple[str, ...]) -> Any:
    """Build the annotated string type of a URI with one of ``schemes``."""
    return Annotated[
        str,
        Field(min_length=4, max_length=1024, json_schema_extra={"pattern": _pattern(schemes)}),
        _uri_check(schemes),
    ]


ModelUri = uri_type(MODEL_SCHEMES)
DataUri = uri_type(DATA_SCHEMES)
HttpUrl = uri_type(("http", "https"))
S3Uri = uri_type(("s3",))
WorkspaceUrl = uri_type(WORKSPACE_SCHEMES)

DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Text = Annotated[str, Field(max_length=1024)]
ShortText = Annotated[str, Field(min_length=1, max_length=253)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Timestamp = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
Proportion = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]

QUANTITY_PATTERN = r"^([0-9]+(\.[0-9]+)?|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|m|k|M|G|T|P|E|[eE][0-9]{1,2})?$"


QUANTITY_EXPECTED = "a Kubernetes quantity such as 1, 500m or 200Gi"


def _check_quantity(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    is_text = isinstance(value, str) and len(value) <= 32 and re.fullmatch(QUANTITY_PATTERN, value) is not None
    if not (is_number or is_text):
        raise ExpectationError(QUANTITY_EXPECTED)
    return value


# Checked before the union, so that one fault gives one error and not one for each of its branches.
Quantity = Annotated[
    int | str,
    BeforeValidator(_check_quantity),
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maxLength": 32,
            "pattern": QUANTITY_PATTERN,
        }
    ),
]


_POWERS = {"": 0, "m": -1, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


def amount_of(quantity: int | str) -> float:
    """Return a quantity as a number: `500m` is 0.5, `2Ki` is 2048. Raises ValueError for text that is none."""
    if isinstance(quantity, int):
        return quantity
    parts = re.fullmatch(QUANTITY_PATTERN, quantity)
    if parts is None:
        raise ValueError(f"got {quantity}: expected {QUANTITY_EXPECTED}")
    number, suffix = float(parts[1]), parts[3] or ""
    if suffix[1:].isdigit():
        return float(quantity)
    base = 1024.0 if suffix.endswith("i") else 1000.0
    return number * base ** _POWERS[suffix.removesuffix("i")]


class SecretRef(Contract):
    """The name of a Secret in the run's namespace (or, locally, of an environment variable prefix)."""

    name: ShortText
    """Name of the Secret."""
    key: ShortText | None = None
    """Key inside the Secret; the default is the one customary for its use (`token`, `apiKey`)."""


RunName = Annotated[str, Field(min_length=1, max_length=52, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class ObjectMeta(Contract):
    """The part of Kubernetes' metadata the contract reads; other fields pass through."""

    model_config = {**Contract.model_config, "extra": "allow"}

    name: RunName
    """Name of the object: lower-case letters, digits and `-`, at most 52 (stage names are appended)."""
    namespace: DnsLabel | None = None
    """Namespace of the object."""
    uid: ShortText | None = None
    """Set by the API server."""
    generation: Count | None = None
    """Set by the API server."""


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a value and every value inside it with its path (`spec.data.evaluation.judges[0].name`), depth first.

    Inside are the fields of a model, by the names a document has for them, and the items of a list.
    """
    yield path, value
    if isinstance(value, BaseModel):
        for name, field in value:
            alias = type(value).model_fields[name].alias or name
            yield from walk(field, f"{path}.{alias}" if path else alias)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, f"{path}[{index}]")
