"""Where models and data come from."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hardening_api.base import Contract, DataUri, ExpectationError, HttpUrl, ModelUri, SecretRef, ShortText

_ARGUMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
RESERVED_ARGUMENTS = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message")
"""What a chat template is always given."""


class ChatTemplate(Contract):
    """How a model's own chat template is used, wherever the model is asked, scored or trained.

    What is set here becomes part of the trained model's template, so that it is served as it was evaluated.
    """

    arguments: Annotated[
        dict[str, Any], Field(max_length=16, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = {}
    """Variables the template reads, such as `{enable_thinking: false}`; one that it does not read is refused."""
    system_prompt: Annotated[str, Field(min_length=1, max_length=16384)] | None = None
    """System message before every conversation; where the template has none, the beginning of the first user turn."""

    @model_validator(mode="after")
    def _arguments_are_plain(self) -> ChatTemplate:
        for name, value in self.arguments.items():
            if not _ARGUMENT_NAME.fullmatch(name):
                raise ExpectationError("at=arguments;names of letters, digits and _, at most 63")
            if name in RESERVED_ARGUMENTS:
                raise ExpectationError(f"at=arguments.{name};no argument of this name: the trainer gives it")
            if not isinstance(value, bool | int | float | str) or len(str(value)) > 1024:
                raise ExpectationError(f"at=arguments.{name};true, false, a number or text of at most 1024 characters")
        return self


class ModelSource(Contract):
    """A model by URI."""

    uri: ModelUri
    """`hf://org/name`, `file:///folder` (or a `.gguf` file), `package://module/file.gguf`, `s3://bucket/prefix`."""
    revision: ShortText | None = None
    """Branch, tag or commit of a `hf://` model; the commit it resolves to is recorded."""
    secret_ref: SecretRef | None = None
    """Secret that holds the access token."""
    chat_template: ChatTemplate | None = None
    """Arguments and system prompt of its chat template, where they are not the template's defaults."""


class Endpoint(Contract):
    """A served model: an OpenAI-compatible endpoint."""

    base_url: HttpUrl
    """Address of the endpoint, up to and without `/chat/completions`."""
    model: ShortText
    """The endpoint's name of the model."""
    secret_ref: SecretRef | None = None
    """Secret that holds the API key."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Time limit of one request."""
    max_retries: Annotated[int, Field(ge=0, le=20)] = 4
    """Retries of one request after a refusal to serve or a broken connection."""
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Rate limit kept by the evaluator."""


class ColumnNames(Contract):
    """Names of the columns to read, where they are not the usual ones."""

    prompt: ShortText | None = None
    """Column of the prompt (usual: `prompt`)."""
    preferred: ShortText | None = None
    """Column of the preferred answer (usual: `preferred`, `chosen`)."""
    dispreferred: ShortText | None = None
    """Column of the dispreferred answer (usual: `dispreferred`, `rejected`)."""
    responses: Annotated[list[ShortText], Field(min_length=2, max_length=2)] | None = None
    """Columns of two answers of which another column names the safer one, instead of `preferred` and `dispreferred`."""
    safer: ShortText | None = None
    """Column that holds 0 or 1, the place in `responses` of the safer answer."""
    system: ShortText | None = None
    """Column of a system message, put before the prompt's text (usual: `system`)."""
    id: ShortText | None = None
    """Column of the row's id (usual: `id`, whose values must differ). Where one is named here, repeats are numbered."""

    @model_validator(mode="after")
    def _one_way_to_answers(self) -> ColumnNames:
        if (self.responses is None) != (self.safer is None):
            raise ExpectationError(f"at={'safer' if self.safer is None else 'responses'};responses and safer together")
        if self.responses is not None and (self.preferred is not None or self.dispreferred is not None):
            raise ExpectationError("at=responses;no responses beside preferred and dispreferred")
        return self


class DataSource(Contract):
    """Rows by URI: JSONL, Parquet, CSV, a Hugging Face dataset, or HH-RLHF transcripts."""

    uri: DataUri
    """`file:///rows.jsonl` (also `.jsonl.gz`, `.csv`, `.parquet`), `hf://org/name`, `package://module/file`, `s3://bucket/key`."""
    revision: ShortText | None = None
    """Branch, tag or commit of a `hf://` dataset."""
    subset: ShortText | None = None
    """Configuration or folder of a `hf://` dataset."""
    split: ShortText = "train"
    """Split of a `hf://` dataset."""
    limit: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Read at most this many rows."""
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Skip this many rows first."""
    format: Literal["Auto", "Rows", "Transcripts"] = "Auto"
    """`Transcripts`: HH-RLHF dialogues, the prompt being all but the last answer. `Auto` looks at the first row."""
    columns: ColumnNames | None = None
    """Names of the columns, where they are not the usual ones."""
    secret_ref: SecretRef | None = None
    """Secret that holds the access token."""
