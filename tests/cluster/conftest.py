"""Fixtures of the cluster tests. They run with `make e2e` only: without E2E set nothing here is collected.

cluster    kubeconfig of our own cluster, brought up if it is not, or of the context E2E_CONTEXT names; never another
kubectl    kubectl in a namespace of this test's own, where Pod Security "restricted" is enforced
helm       helm on the same cluster
images     the project's images, built and loaded
operator   the chart, installed as a user would, once for all tests that ask for it; those that do not go first
space      kubectl, with what a tiny run needs in its namespace
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.support import evidence
from tests.cluster.support.clients import CommandError, Helm, Kubectl
from tests.cluster.support.runs import give_inputs
from tools.cluster import cluster as bringup
from tools.cluster import images as image_store
from tools.cluster.settings import REPOSITORY, Settings, from_environment
from tools.cluster.shell import BringUpError
from tools.cluster.tools import build

collect_ignore_glob = [] if os.environ.get("E2E") else ["test_*.py"]

EVIDENCE = REPOSITORY / "build" / "e2e"
CHART = str(REPOSITORY / "charts" / "hardening-operator")
SYSTEM, RELEASE = "hardening-system", "hardening"
_FAILED = pytest.StashKey[bool]()
_BEGUN = pytest.StashKey[set[Path]]()


@dataclass(frozen=True)
class Cluster:
    """The cluster under test. `own` is None where E2E_CONTEXT names someone else's."""

    kubeconfig: Path
    own: Settings | None

    def require_own(self) -> Settings:
        """The bring-up's settings; skips the test on a cluster whose parts are not ours to stop."""
        if self.own is None:
            pytest.skip("needs the cluster that `make cluster-up` starts: it stops parts of it or reads its audit log")
        return self.own


@dataclass(frozen=True)
class Release:
    """The installed chart."""

    name: str
    namespace: str
    kubectl: Kubectl


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bringing up and building images takes longer than a test of the other folders may.

    What needs no operator goes first: it may be about the chart itself, which can be installed once only. Of that, what
    needs no image of ours goes first: those are loaded meanwhile. The longest story goes last, and is left out first.
    """
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(1800))
    others = [item for item in items if item not in ours]
    items[:] = others + sorted(ours, key=_when)


def _when(item: pytest.Item) -> tuple[bool, bool, bool]:
    needs = getattr(item, "fixturenames", ())
    return "operator" in needs, "images" in needs, item.path.name == "test_monitoring.py"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin no file after E2E_UNTIL, in seconds since 1970: what runs under a limit of time ends within it, and says
    what it left out."""
    begun = item.config.stash.setdefault(_BEGUN, set())
    if item.path not in begun and time.time() > float(os.environ.get("E2E_UNTIL") or "inf"):
        pytest.skip("not begun: this machine was not done with the files before it at E2E_UNTIL")
    begun.add(item.path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember what failed, so that its namespace is written down before it goes."""
    report = yield
    if report.failed:
        for node in item.listchain():
            node.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster; one that this session started is taken down again, and must leave nothing."""
    settings = from_environment()
    context = os.environ.get("E2E_CONTEXT")
    if context:
        build(settings, ["kubectl", "helm"])
        yield Cluster(kubeconfig_of(settings, context, tmp_path_factory.mktemp("kubeconfig") / "config"), None)
        return
    running = bringup.is_up(settings)
    try:
        bringup.up(settings)
        build(settings, ["helm"])
    except BringUpError as error:
        pytest.exit(f"no cluster to test on: {error}", returncode=2)
    yield Cluster(settings.kubeconfig, settings)
    if not running:
        bringup.down(settings)


def kubeconfig_of(settings: Settings, context: str, target: Path) -> Path:
    """Write a kubeconfig that holds this context alone, so that no test can reach any other."""
    program = str(settings.cache / "bin" / "kubectl")
    arguments = ["config", "view", f"--context={context}", "--minify", "--flatten", "--output=json"]
    known = Path(os.environ.get("KUBECONFIG", "") or Path.home() / ".kube" / "config")
    try:
        document = json.loads(Kubectl(program, known)(*arguments))
    except CommandError as error:
        raise pytest.UsageError(f"E2E_CONTEXT={context}: {known} has no such context: {error.said}") from error
    target.write_text(json.dumps(document))
    target.chmod(0o600)
    return target


@pytest.fixture(scope="session")
def helm(cluster: Cluster) -> Helm:
    """Helm of the pinned version."""
    return Helm(str(from_environment().cache / "bin" / "helm"), cluster.kubeconfig)


@pytest.fixture(scope="session")
def admin(cluster: Cluster) -> Kubectl:
    """kubectl as administrator, in `default`: for what belongs to no test's namespace."""
    return Kubectl(str(from_environment().cache / "bin" / "kubectl"), cluster.kubeconfig)


@pytest.fixture
def kubectl(admin: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a new namespace that enforces "restricted"; the namespace goes with the test."""
    with own_namespace(admin, request.node) as within:
        yield within


@pytest.fixture(scope="module")
def shared(admin: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """The same for all tests of a file."""
    with own_namespace(admin, request.node) as within:
        yield within


@contextmanager
def own_namespace(admin: Kubectl, node: pytest.Item | pytest.Collector) -> Iterator[Kubectl]:
    """A namespace named after a test or its file; what is in it is written down first when a test failed."""
    title = re.sub(r"^test_|\.py$", "", node.name)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower())[:40].strip("-")
    name = f"{words}-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    within = admin.within(name)
    within.wait("serviceaccount/default", "create")
    yield within
    if node.stash.get(_FAILED, False):
        evidence.keep(within, EVIDENCE / title.replace("/", "-"))
    admin("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def loading(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[str]]]:
    """The images of our own cluster, built and loaded one by one: `base`, and those of the project if a test asks."""
    own = cluster.require_own()
    asked = any("images" in getattr(item, "fixturenames", ()) for item in request.session.items)
    names = ("base", *(image_store.IMAGES if asked else ()))
    one_by_one = ThreadPoolExecutor(1)
    yield {name: one_by_one.submit(image_store.provide, own, name) for name in names}
    one_by_one.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def python_image(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """An image with Python in it, for small pods."""
    if cluster.own is None:
        return "python:3.11-slim-bookworm"
    return str(request.getfixturevalue("loading")["base"].result())


@pytest.fixture(scope="session")
def images(cluster: Cluster, request: pytest.FixtureRequest) -> dict[str, str]:
    """REPOSITORY:TAG of the `operator` and the `trainer` image."""
    if cluster.own is None:
        named = {name: os.environ.get(f"E2E_{name.upper()}_IMAGE", "") for name in image_store.IMAGES}
        if not all(named.values()):
            raise pytest.UsageError(
                "with E2E_CONTEXT, set E2E_OPERATOR_IMAGE and E2E_TRAINER_IMAGE to images it can pull"
            )
        return named
    loaded = request.getfixturevalue("loading")
    return {name: loaded[name].result() for name in image_store.IMAGES}


@pytest.fixture(scope="session")
def operator(admin: Kubectl, helm: Helm, images: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Release]:
    """The chart, installed with `helm install` and ready; uninstalled after the last test."""
    namespace, name = SYSTEM, RELEASE
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    release = Release(name, namespace, admin.within(namespace))
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    try:
        # What cannot be had is told within the time of a test.
        deadlines = ["--set", "operator.schedulingDeadlineSeconds=60,operator.imageDeadlineSeconds=30"]
        values = [*image_values(images), *deadlines, f"--namespace={namespace}"]
        helm("upgrade", "--install", name, CHART, *values, "--wait", "--timeout=180s")
        yield release
    finally:
        evidence.keep(release.kubectl, EVIDENCE / "operator")
        helm("uninstall", name, f"--namespace={namespace}", "--wait", "--ignore-not-found")
        admin("delete", "namespace", namespace, "--timeout=120s", seconds=150)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    from tests.support.stage_configs import terse_model  # torch takes seconds to import
    from tests.support.tiny_model import build_tiny_model

    folder = tmp_path_factory.mktemp("tiny")
    build_tiny_model(folder / "plain")
    return terse_model(folder / "plain", folder / "model")


@pytest.fixture
def space(kubectl: Kubectl, tiny: Path, operator: Release) -> Kubectl:
    """kubectl in a namespace with the inputs of a tiny run, and the operator watching."""
    give_inputs(kubectl, tiny)
    return kubectl


def image_values(images: dict[str, str]) -> list[str]:
    """The options of helm that name the images under test."""
    found = []
    for key, name in (("image", "operator"), ("trainerImage", "trainer")):
        repository, _, tag = images[name].rpartition(":")
        found += ["--set-string", f"{key}.repository={repository},{key}.tag={tag}"]
    return found
