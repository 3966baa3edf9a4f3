"""Files inside installed packages, by `package://module/path`: found, but nothing is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import unquote, urlsplit


def package_folder(uri: str) -> Path | None:
    """Return the folder of the package a URI names, or None when no such package is installed."""
    name = urlsplit(uri).netloc
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def package_path(uri: str, folder: Path) -> Path | None:
    """Return the path a URI names inside the package's ``folder``, or None when it leads out of it."""
    path = (folder / unquote(urlsplit(uri).path).lstrip("/")).resolve()
    return path if path.is_relative_to(folder) else None
