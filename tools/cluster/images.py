"""Container images without a registry: buildah builds them from the project's Dockerfiles, containerd gets the layers.

Dockerfile -> buildah storage -> OCI layout (uncompressed) -> only the layers that containerd lacks -> containerd.
After a change of code alone the layer with torch is read, to see that it is the same, but not built again: this takes
3 minutes instead of 15.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from tools.cluster.components import PAUSE_IMAGE
from tools.cluster.requirements import require_space
from tools.cluster.settings import REPOSITORY, SOURCE, Settings
from tools.cluster.shell import BringUpError, alone, output, say

BASE_IMAGE = "localhost/hardening/base:bookworm-1"
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_KEPT = 2


@dataclass(frozen=True)
class Image:
    """An image of the project, built with the repository as context.

    `first_build_gib`: a new layer is there three times while it is committed.
    """

    repository: str
    dockerfile: str
    first_build_gib: int


IMAGES = {
    "operator": Image("localhost/hardening/operator", "operator/Dockerfile", 2),
    "trainer": Image("localhost/hardening/trainer", "trainer_image/Dockerfile", 25),
}


def build(settings: Settings, name: str) -> str:
    """Build one of the project's images and return REPOSITORY:TAG, where the tag is the start of the image's digest."""
    image = IMAGES[name]
    if not (REPOSITORY / image.dockerfile).exists():
        raise BringUpError(f"{image.dockerfile} does not exist: nothing to build the {name} image from")
    ensure_base(settings)
    with alone(settings.temporary, name), _context() as context:
        if not _is_built(settings, f"{image.repository}:latest"):
            require_space(settings, image.first_build_gib, image.repository)
        return build_from(settings, image.repository, context / image.dockerfile, context, {"BASE_IMAGE": BASE_IMAGE})


def build_from(settings: Settings, repository: str, dockerfile: Path, context: Path, arguments: dict[str, str]) -> str:
    """Build any Dockerfile; layers that did not change are taken from the cache. Returns REPOSITORY:TAG."""
    say(f"building {repository}")
    with _package_settings() as given:
        flags = ["--layers", "--force-rm", "--isolation", "chroot", "--network", "host", "--pull-never"]
        flags += ["--format", "oci", *given]
        flags += [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        buildah(settings, "build", *flags, "--tag", f"{repository}:latest", "--file", str(dockerfile), str(context))
    digest = (
        buildah(settings, "images", "--no-trunc", "--quiet", f"{repository}:latest").strip().removeprefix("sha256:")
    )
    reference = f"{repository}:{digest[:12]}"
    buildah(settings, "tag", f"{repository}:latest", reference)
    return reference


def ensure_base(settings: Settings) -> None:
    """A small Debian with Python, made by debootstrap once."""
    with alone(settings.temporary, "base"):
        if not _is_built(settings, BASE_IMAGE):
            _make_base(settings)


def _is_built(settings: Settings, reference: str) -> bool:
    return bool(buildah(settings, "images", "--quiet", "--filter", f"reference={reference}").strip())


def _make_base(settings: Settings) -> None:
    say(f"making {BASE_IMAGE} (once)")
    with _scratch_folder(settings) as folder:
        variant = ["--variant=minbase", f"--include={_BASE_PACKAGES}"]
        output(["debootstrap", *variant, "bookworm", folder / "root"])
        for unneeded in (
            "var/cache/apt/archives",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/locale",
            "usr/share/man",
        ):
            shutil.rmtree(folder / "root" / unneeded, ignore_errors=True)
            (folder / "root" / unneeded).mkdir()
        (folder / "Dockerfile").write_text('FROM scratch\nCOPY root /\nCMD ["python3"]\n')
        buildah(settings, "build", "--isolation", "chroot", "--format", "oci", "--tag", BASE_IMAGE, str(folder))


def ensure_pause(settings: Settings) -> None:
    """The image every pod's sandbox runs: a static C program of our own."""
    if PAUSE_IMAGE in ctr(settings, "images", "list", "--quiet").split():
        return
    with _scratch_folder(settings) as folder:
        shutil.copy(SOURCE / "pause" / "Dockerfile", folder)
        output(["gcc", "-static", "-Os", "-o", folder / "pause", SOURCE / "pause" / "pause.c"])
        buildah(settings, "build", "--isolation", "chroot", "--format", "oci", "--tag", PAUSE_IMAGE, str(folder))
    load(settings, PAUSE_IMAGE)


def provide(settings: Settings, name: str) -> str:
    """Have `base` or one of the project's images in the running cluster. Returns REPOSITORY:TAG."""
    if name == "base":
        ensure_base(settings)
    reference = BASE_IMAGE if name == "base" else build(settings, name)
    load(settings, reference)
    return reference


def load(settings: Settings, reference: str) -> None:
    """Hand an image to containerd; does nothing when it is there, and waits for another process that does it."""
    layout = settings.cache / "layout"
    with alone(settings.temporary, "layout"):
        if reference in ctr(settings, "images", "list", "--quiet").split():
            return
        say(f"loading {reference}")
        buildah(settings, "push", "--disable-compression", reference, f"oci:{layout}:{reference}")
        _import(settings, layout, reference)
        _forget_older(settings, layout, reference.rpartition(":")[0])


def buildah(settings: Settings, *arguments: str) -> str:
    """Run buildah on the cache's own storage."""
    storage = [
        "--root",
        settings.cache / "buildah",
        "--runroot",
        settings.cache / "buildah-run",
        "--storage-driver",
        "overlay",
    ]
    return output(["buildah", *storage, *arguments], env=os.environ | {"TMPDIR": str(_temporary(settings))})


def ctr(settings: Settings, *arguments: str) -> str:
    """Run containerd's client on the cluster's own containerd."""
    return output(["ctr", "--address", settings.containerd_socket, "--namespace", "k8s.io", *arguments])


def _import(settings: Settings, layout: Path, reference: str) -> None:
    """Stream the image to containerd, leaving out the layers it has, then let both share one copy of each layer."""
    entry = next(item for item in _index(layout)["manifests"] if _name(item) == reference)
    present = set(ctr(settings, "content", "list", "--quiet").split())
    blobs = _blobs(layout, entry["digest"])
    entry["annotations"] = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    client = ["ctr", "--address", str(settings.containerd_socket), "--namespace", "k8s.io", "images", "import", "-"]
    with subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        with tarfile.open(fileobj=process.stdin, mode="w|") as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
            for digest in blobs:
                if digest not in present:
                    archive.add(_blob(layout, digest), f"blobs/sha256/{digest.removeprefix('sha256:')}")
    if process.returncode:
        raise BringUpError(f"containerd refused {reference}: see {settings.logs / 'containerd.log'}")
    store = settings.images / "io.containerd.content.v1.content"
    for digest in blobs:
        shared = _blob(layout, digest).with_suffix(".shared")
        shared.hardlink_to(_blob(store, digest))
        shared.rename(_blob(layout, digest))


def _forget_older(settings: Settings, layout: Path, repository: str) -> None:
    """Keep the newest images of a repository, here, in buildah's storage and in containerd."""
    index = _index(layout)
    index["manifests"] = [item for item in index["manifests"] if _name(item)]
    names = [_name(item) for item in index["manifests"] if _name(item).startswith(f"{repository}:")]
    for reference in names[:-_KEPT]:
        index["manifests"] = [item for item in index["manifests"] if _name(item) != reference]
        ctr(settings, "images", "remove", reference)
        buildah(settings, "rmi", reference)
    (layout / "index.json").write_text(json.dumps(index))
    used = {digest for item in index["manifests"] for digest in _blobs(layout, item["digest"])}
    for path in (layout / "blobs" / "sha256").iterdir():
        if f"sha256:{path.name}" not in used:
            path.unlink()


def _blobs(layout: Path, manifest: str) -> list[str]:
    document = json.loads(_blob(layout, manifest).read_text())
    return [manifest, document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _index(layout: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((layout / "index.json").read_text())
    return index


def _name(entry: dict[str, Any]) -> str:
    """Empty for an image whose name another one took."""
    return str(entry.get("annotations", {}).get("org.opencontainers.image.ref.name", ""))


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    archive.addfile(header, BytesIO(content))


@contextmanager
def _context() -> Iterator[Path]:
    """The repository's files that git knows or would add: never .venv or what runs left."""
    listed = output(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=REPOSITORY).split("\0")
    with tempfile.TemporaryDirectory(prefix="hardening-context-") as folder:
        for name in filter(None, listed):
            if (REPOSITORY / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, Path(folder) / name)
        yield Path(folder)


@contextmanager
def _package_settings() -> Iterator[list[str]]:
    """Flags that lend this machine's certificates and package index to the build: none of it stays in the image."""
    with tempfile.TemporaryDirectory(prefix="hardening-packages-") as folder:
        index = _pip_settings()
        pip = ["[global]", f"cert = {_CERTIFICATES}", *(f"{key} = {value}" for key, value in index.items())]
        (Path(folder) / "pip.conf").write_text("\n".join(pip) + "\n")
        uv = ["native-tls = true", *(f'{key} = "{value}"' for key, value in index.items() if key == "index-url")]
        (Path(folder) / "uv.toml").write_text("\n".join(uv) + "\n")
        given = ["--secret", f"id=pip,src={folder}/pip.conf", "--secret", f"id=uv,src={folder}/uv.toml"]
        if Path(_CERTIFICATES).exists():
            given += ["--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"]
        yield given


def _pip_settings() -> dict[str, str]:
    found = {}
    for key in ("index-url", "extra-index-url", "trusted-host", "proxy"):
        value = os.environ.get(f"PIP_{key.upper().replace('-', '_')}")
        if not value:
            done = subprocess.run(
                ["pip", "config", "get", f"global.{key}"], capture_output=True, text=True, check=False
            )
            value = done.stdout.strip() if done.returncode == 0 else ""
        if value:
            found[key] = value
    return found


@contextmanager
def _scratch_folder(settings: Settings) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_temporary(settings)) as folder:
        yield Path(folder)


def _temporary(settings: Settings) -> Path:
    settings.temporary.mkdir(parents=True, exist_ok=True)
    return settings.temporary
