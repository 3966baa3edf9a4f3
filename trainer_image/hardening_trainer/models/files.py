"""The files of a model folder: which count, their digest, and folders that appear only when complete."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")
"""Weights, configuration and tokenizer; never pickles, never code."""

_CHUNK = 1 << 20


def is_model_file(name: str) -> bool:
    """Whether a file of this name belongs to a model."""
    return any(fnmatch(name, pattern) for pattern in MODEL_FILES)


def folder_digest(folder: Path) -> str:
    """sha256 (hex) over the sorted (name, sha256) of the model files of `folder`."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if path.is_file() and is_model_file(path.name):
            total.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A scratch folder that becomes `target` by one rename when the block ends well.

    When another process made `target` meanwhile, theirs stays and this one is dropped.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield scratch
        try:
            os.rename(scratch, target)  # noqa: PTH104  # Path.rename says no more
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
