"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every run, so that nobody's first `make test` fails by chance; `make e2e-full` looks further.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("long", max_examples=2000, derandomize=False, deadline=None)
settings.load_profile("ci")
# Figures are compared to 1e-4, which bfloat16, native on some machines, does not give.
os.environ["HARDENING_DTYPE"] = "float32"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random tiny chat model; shared, so read it only."""
    from tests.support.tiny_model import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
