"""The chart as an administrator handles it: install, test, upgrade, uninstall; nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import CHART, RELEASE, SYSTEM, image_values
from tests.cluster.support.clients import Helm, Kubectl
from tests.cluster.support.runs import condition, tiny_run

CRDS = {
    f"customresourcedefinition.apiextensions.k8s.io/{kind}.hardening.dev"
    for kind in ("hardeningruns", "hardeningmonitors", "promotionapprovals")
}
NAMESPACE = f"--namespace={SYSTEM}"


@pytest.fixture
def chart(helm: Helm, admin: Kubectl, images: dict[str, str]) -> Iterator[list[str]]:
    """Arguments of helm that mean the chart, with a namespace for it that enforces "restricted"."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": labels}})
    yield [RELEASE, CHART, NAMESPACE, *image_values(images), "--wait", "--timeout=180s"]
    helm("uninstall", RELEASE, NAMESPACE, "--wait", "--ignore-not-found")
    admin("delete", "namespace", SYSTEM, "--timeout=120s", seconds=150)


def left(admin: Kubectl) -> set[str]:
    """All that has the release's label, and all that is in its namespace but for what is in every namespace."""
    admin.within(SYSTEM)("wait", "pods", "--all", "--for=delete", "--timeout=60s")  # helm does not wait for these
    labelled = named(admin, kinds(admin), "--all-namespaces", f"--selector=app.kubernetes.io/instance={RELEASE}")
    inside = named(admin.within(SYSTEM), kinds(admin, "--namespaced"))
    return labelled | inside - {"serviceaccount/default", "configmap/kube-root-ca.crt"}


def kinds(admin: Kubectl, *which: str) -> str:
    """Every kind there is but events, which go by themselves."""
    found = admin("api-resources", "--verbs=list", "--output=name", *which).split()
    return ",".join(kind for kind in found if not kind.startswith("events"))


def named(kubectl: Kubectl, kinds: str, *which: str) -> set[str]:
    return set(kubectl("get", kinds, "--output=name", *which).split())


def test_installed_tested_upgraded_and_uninstalled_the_chart_leaves_the_crds_and_all_runs(
    helm: Helm, admin: Kubectl, chart: list[str], kubectl: Kubectl
) -> None:
    assert "kubectl apply" in helm("install", *chart)
    assert "Phase:          Succeeded" in helm("test", RELEASE, NAMESPACE)
    kubectl.apply(tiny_run("waits", suspend=True))
    kubectl.wait("hrun/waits", "Suspended", 60)
    before = kubectl.get("hrun", "waits")

    helm("upgrade", *chart, "--set", "operator.workers=6")
    system = admin.within(SYSTEM)
    [deployment] = system.items("deployments")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {"name": "HARDENING_WORKERS", "value": "6"} in container["env"]
    assert deployment["status"]["readyReplicas"] == 2
    kubectl("patch", "hrun", "waits", "--type=merge", "-p", '{"spec":{"rounds":2}}')
    seen = kubectl.watch("hrun/waits", lambda run: run["status"].get("observedGeneration") == 2, "is looked after", 60)
    assert condition(seen, "Suspended")["status"] == "True"

    said = helm("uninstall", RELEASE, NAMESPACE, "--wait")
    assert all(name.rpartition("/")[2] in said for name in CRDS)
    assert left(admin) == CRDS
    assert kubectl.get("hrun", "waits")["metadata"]["uid"] == before["metadata"]["uid"]


def test_uninstalled_without_keeping_them_the_crds_go_with_every_run(
    helm: Helm, admin: Kubectl, chart: list[str], kubectl: Kubectl
) -> None:
    helm("install", *chart, "--set", "crds.keep=false")
    kubectl.apply(tiny_run("waits", suspend=True))
    kubectl.wait("hrun/waits", "Suspended", 60)
    helm("uninstall", RELEASE, NAMESPACE, "--wait")
    assert left(admin) == set()
    assert "hardening.dev" not in admin("api-resources", "--output=name")


def test_a_value_that_does_not_exist_is_refused(helm: Helm, chart: list[str]) -> None:
    with pytest.raises(AssertionError, match="replicaCount"):
        helm("install", *chart, "--set", "replicaCount=3")
