"""How hard the property tests look: `ci`, the same examples each time, or `search`, many more and others each time."""

from __future__ import annotations

import os

from hypothesis import settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
SEARCH_FACTOR = 50
"""How many times as many examples a search tries."""

settings.register_profile("ci", derandomize=True)
settings.register_profile("search", derandomize=False, print_blob=True)


def load_profile() -> None:
    """Load the profile that HYPOTHESIS_PROFILE names; before any test module is imported."""
    settings.load_profile(PROFILE)


def examples(number: int) -> int:
    """Return how many examples a test with its own number of them tries under the profile."""
    return number * (SEARCH_FACTOR if PROFILE == "search" else 1)
