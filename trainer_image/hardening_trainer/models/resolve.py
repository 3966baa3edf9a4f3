"""From a model's URI to a local folder of safetensors, with its revision and digest recorded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hardening_api.sources import ChatTemplate
from hardening_trainer.errors import ModelNotUsable, ModelUnavailable
from hardening_trainer.models.chat_template import with_settings
from hardening_trainer.models.files import MODEL_FILES, folder_digest, is_model_file, new_folder
from hardening_trainer.models.gguf import convert_gguf
from hardening_trainer.models.load import load_tokenizer
from hardening_trainer.storage.packages import package_folder, package_path
from hardening_trainer.storage.stores import OpenUrl, open_store

TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True)
class ResolvedModel:
    """The folder of a model on this machine, and the revision and digest that identify it."""

    path: Path
    """A folder that loads with plain `from_pretrained`."""
    uri: str
    """As it was asked for."""
    revision: str | None
    """The commit a hub revision stood for; None where the scheme has no revisions."""
    digest: str
    """sha256 over its files' names and sha256."""


def resolve_model(
    uri: str, revision: str | None, cache_dir: Path, token: str | None = None, open_url: OpenUrl = open_store
) -> ResolvedModel:
    """Bring the model named by `uri` to this machine, under `cache_dir` where it is not here already.

    `hf://org/name` (at `revision`), `file:///folder`, `package://module/file` (of an installed package, which is
    not imported), or a folder or `.gguf` file at any URL `open_url` opens. GGUF files are converted once.
    Raises ModelNotUsable when no such model exists or may be read, ModelUnavailable when its host is unreachable.
    """
    scheme, _, rest = uri.partition("://")
    if not rest:
        raise ModelNotUsable(uri, "no scheme", "expected hf://, file://, package:// or a URL of a store")
    if scheme == "hf":
        path = _from_hub(uri, rest, revision, cache_dir, token)
        return ResolvedModel(path, uri, path.name, folder_digest(path))
    found = {"file": _from_file, "package": _from_package}.get(scheme)
    path = found(uri) if found else _from_store(uri, cache_dir, open_url)
    if path.suffix == ".gguf" and path.is_file():
        path = convert_gguf(uri, path, cache_dir)
    if not path.is_dir():
        raise ModelNotUsable(uri, "no such folder or .gguf file", "check the path")
    if not (path / "config.json").is_file():
        raise ModelNotUsable(uri, "no config.json in it", "expected a folder as save_pretrained writes it")
    return ResolvedModel(path, uri, None, folder_digest(path))


def with_chat_template(resolved: ResolvedModel, settings: ChatTemplate, cache_dir: Path) -> ResolvedModel:
    """The same model with `settings` in its chat template: a folder of links and one template of its own.

    So whoever loads the folder asks, scores and trains by the same template, and what is trained from it keeps it.
    Raises ModelNotUsable where the template cannot take the settings.
    """
    tokenizer = load_tokenizer(resolved.path)
    template = with_settings(tokenizer, settings, resolved.uri)
    digest = hashlib.sha256(f"{resolved.digest}\0{template}".encode()).hexdigest()
    target = cache_dir / "templated" / digest[:32]
    if not target.is_dir():
        with new_folder(target) as folder:
            for file in resolved.path.iterdir():
                if file.is_file() and file.name != TEMPLATE_FILE:
                    (folder / file.name).symlink_to(file.resolve())
            (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8", newline="")
    return replace(resolved, path=target, digest=digest)


def _from_hub(uri: str, name: str, revision: str | None, cache_dir: Path, token: str | None) -> Path:
    try:
        folder = snapshot_download(
            name, revision=revision, cache_dir=cache_dir / "hub", token=token, allow_patterns=list(MODEL_FILES)
        )
    except GatedRepoError as error:
        raise ModelNotUsable(uri, "access is gated", "ask for access and give a token by secretRef") from error
    except RevisionNotFoundError as error:
        raise ModelNotUsable(uri, f"no revision {revision!r}", "check revision") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotUsable(uri, "no such repository, or it is private", "check it and its token") from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelUnavailable(uri, f"the hub could not be read ({type(error).__name__})") from error
    return Path(folder)


def _from_file(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.netloc:
        raise ModelNotUsable(uri, f"a host, {parts.netloc!r}", "expected three slashes: file:///folder")
    return Path(unquote(parts.path))


def _from_package(uri: str) -> Path:
    name, folder = urlsplit(uri).netloc, package_folder(uri)
    if folder is None:
        raise ModelNotUsable(uri, f"no installed package {name!r}", "install it, or check its name")
    path = package_path(uri, folder)
    if path is None or not path.exists():
        raise ModelNotUsable(uri, f"no such file in package {name!r}", "check the path")
    return path


def _from_store(uri: str, cache_dir: Path, open_url: OpenUrl) -> Path:
    """Copy the model files of a folder, or one GGUF file, renamed whenever the store's listing changes."""
    try:
        filesystem, root = open_url(uri)
        listing = filesystem.ls(root, detail=True)
    except FileNotFoundError as error:
        raise ModelNotUsable(uri, "no such folder or file", "check the URL") from error
    except (ValueError, ImportError) as error:
        raise ModelNotUsable(uri, f"this scheme cannot be opened ({error})", "check the URL") from error
    except OSError as error:
        raise ModelUnavailable(uri, f"the store could not be read ({type(error).__name__})") from error
    is_gguf = root.endswith(".gguf")
    files = [PurePosixPath(entry["name"]) for entry in listing if entry["type"] == "file"]
    wanted = sorted(file for file in files if is_gguf or is_model_file(file.name))
    if not wanted:
        raise ModelNotUsable(uri, "no model files in it", f"expected {', '.join(MODEL_FILES[:2])} files")
    states = "\n".join(f"{file} {filesystem.ukey(str(file))}" for file in wanted)
    target = cache_dir / "store" / hashlib.sha256(f"{uri}\n{states}".encode()).hexdigest()[:32]
    if not target.is_dir():
        with new_folder(target) as folder:
            for file in wanted:
                filesystem.get_file(str(file), str(folder / file.name))
    return target / PurePosixPath(root).name if is_gguf else target
