"""Where models and data come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hardening_api.base import Contract, DataUri, HttpUrl, ModelUri, SecretRef, ShortText


class ModelSource(Contract):
    """A model by URI."""

    uri: ModelUri
    """`hf://org/name`, `file:///folder` (or a `.gguf` file), `package://module/file.gguf`, `s3://bucket/prefix`."""
    revision: ShortText | None = None
    """Branch, tag or commit of a `hf://` model; the commit it resolves to is recorded."""
    secret_ref: SecretRef | None = None
    """Secret that holds the access token."""


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
