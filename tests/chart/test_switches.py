"""Every value of the chart, changed: what it changes in what is rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, NAME, NAMESPACE, Object, of_kind, one, refusal, render

Check = Callable[[list[Object]], bool]
DIGEST = "sha256:" + "ab" * 32


def _pod(objects: list[Object]) -> Object:
    spec: Object = one(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def _container(objects: list[Object]) -> Object:
    (container,) = _pod(objects)["containers"]
    return dict(container)


def _env(name: str, value: str) -> Check:
    return lambda objects: {"name": f"HARDENING_{name}", "value": value} in _container(objects)["env"]


def _none_of(*kinds: str) -> Check:
    return lambda objects: not [document for document in objects if document["kind"] in kinds]


def _named(kind: str, name: str) -> Check:
    return lambda objects: name in [document["metadata"]["name"] for document in of_kind(objects, kind)]


def _annotated(objects: list[Object], value: str | None) -> bool:
    crds = of_kind(objects, "CustomResourceDefinition")
    return {crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for crd in crds} == {value}


def _rules(objects: list[Object]) -> list[Object]:
    (role,) = (role for role in of_kind(objects, "ClusterRole") if role["metadata"]["name"] == NAME)
    return list(role["rules"])


# value -> (what it is set to, what must then hold)
SWITCHES: dict[str, tuple[Any, Check]] = {
    "nameOverride": ("other", _named("Deployment", "release-other")),
    "fullnameOverride": ("mine", _named("Deployment", "mine")),
    "image.registry": (
        "registry.example:5000/ml",
        lambda o: _container(o)["image"] == "registry.example:5000/ml/hardening-operator:0.1.0",
    ),
    "image.repository": ("a/b", lambda o: _container(o)["image"] == "a/b:0.1.0"),
    "image.tag": ("v9", lambda o: _container(o)["image"] == "hardening-operator:v9"),
    "image.digest": (DIGEST, lambda o: _container(o)["image"] == f"hardening-operator@{DIGEST}"),
    "image.pullPolicy": ("Always", lambda o: _container(o)["imagePullPolicy"] == "Always"),
    "imagePullSecrets": ([{"name": "reg"}], lambda o: _pod(o).get("imagePullSecrets") == [{"name": "reg"}]),
    "trainerImage.registry": ("r.example", _env("TRAINER_IMAGE", "r.example/hardening-trainer:0.1.0")),
    "trainerImage.repository": ("t", _env("TRAINER_IMAGE", "t:0.1.0")),
    "trainerImage.tag": ("v9", _env("TRAINER_IMAGE", "hardening-trainer:v9")),
    "trainerImage.digest": (DIGEST, _env("TRAINER_IMAGE", f"hardening-trainer@{DIGEST}")),
    "trainerImage.pullPolicy": ("Never", _env("IMAGE_PULL_POLICY", "Never")),
    "trainerImage.pullSecrets": (["a", "b"], _env("IMAGE_PULL_SECRETS", "a,b")),
    "watchNamespaces": (["safety", "red-team"], _env("NAMESPACES", "safety,red-team")),
    "replicas": (3, lambda o: one(o, "Deployment")["spec"]["replicas"] == 3),
    "leaderElection.enabled": (False, _none_of("Lease")),
    "operator.workers": (3, _env("WORKERS", "3")),
    "operator.resyncSeconds": (60, _env("RESYNC_SECONDS", "60")),
    "operator.schedulingDeadlineSeconds": (604800, _env("SCHEDULING_DEADLINE_SECONDS", "604800")),
    "operator.imageDeadlineSeconds": (60, _env("IMAGE_DEADLINE_SECONDS", "60")),
    "operator.progressSeconds": (0, _env("PROGRESS_SECONDS", "0")),
    "stages.networkPolicies": (
        False,
        lambda o: (
            _env("NETWORK_POLICIES", "false")(o)
            and not [rule for rule in _rules(o) if "networkpolicies" in rule["resources"]]
        ),
    ),
    "workspace.size": ("1Ti", _env("WORKSPACE_SIZE", "1Ti")),
    "workspace.storageClass": ("fast", _env("WORKSPACE_STORAGE_CLASS", "fast")),
    "workspace.accessMode": ("ReadWriteMany", _env("WORKSPACE_ACCESS_MODE", "ReadWriteMany")),
    "crds.install": (False, _none_of("CustomResourceDefinition")),
    "crds.keep": (False, lambda o: _annotated(o, None)),
    "rbac.create": (False, _none_of("Role", "RoleBinding", "ClusterRoleBinding")),
    "rbac.userRoles": (False, lambda o: [role["metadata"]["name"] for role in of_kind(o, "ClusterRole")] == [NAME]),
    "approvals.verifyApprover": (
        False,
        _none_of("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    ),
    "serviceAccount.create": (
        False,
        lambda o: not of_kind(o, "ServiceAccount") and _pod(o)["serviceAccountName"] == "default",
    ),
    "serviceAccount.name": (
        "someone",
        lambda o: (
            one(o, "ServiceAccount")["metadata"]["name"] == _pod(o)["serviceAccountName"] == "someone"
            and one(o, "ClusterRoleBinding")["subjects"][0]["name"] == "someone"
        ),
    ),
    "serviceAccount.annotations": (
        {"a": "b"},
        lambda o: one(o, "ServiceAccount")["metadata"].get("annotations") == {"a": "b"},
    ),
    "ports.metrics": (9090, lambda o: _env("METRICS_PORT", "9090")(o) and _ports(o)["metrics"] == {9090}),
    "ports.health": (9091, lambda o: _env("HEALTH_PORT", "9091")(o) and _ports(o)["health"] == {9091}),
    "networkPolicy.enabled": (False, _none_of("NetworkPolicy")),
    "networkPolicy.metricsFrom": (
        [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        lambda o: (
            one(o, "NetworkPolicy")["spec"]["ingress"][1].get("from")
            == [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
        ),
    ),
    "networkPolicy.apiServerPorts": (
        [16443],
        lambda o: one(o, "NetworkPolicy")["spec"]["egress"][1]["ports"] == [{"port": 16443, "protocol": "TCP"}],
    ),
    "podDisruptionBudget.enabled": (False, _none_of("PodDisruptionBudget")),
    "podDisruptionBudget.maxUnavailable": (
        "50%",
        lambda o: one(o, "PodDisruptionBudget")["spec"]["maxUnavailable"] == "50%",
    ),
    "tests.enabled": (False, _none_of("Pod")),
    "resources.requests": (
        {"cpu": "1", "memory": "1Gi"},
        lambda o: _container(o)["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"},
    ),
    "resources.limits": (
        {"memory": "1Gi"},
        lambda o: _container(o)["resources"]["limits"] == {"memory": "1Gi"},
    ),
    "podLabels": (
        {"team": "safety"},
        lambda o: one(o, "Deployment")["spec"]["template"]["metadata"]["labels"].get("team") == "safety",
    ),
    "podAnnotations": (
        {"a": "b"},
        lambda o: one(o, "Deployment")["spec"]["template"]["metadata"]["annotations"].get("a") == "b",
    ),
    "nodeSelector": ({"pool": "cpu"}, lambda o: _pod(o).get("nodeSelector") == {"pool": "cpu"}),
    "tolerations": (
        [{"key": "k", "operator": "Exists"}],
        lambda o: _pod(o).get("tolerations") == [{"key": "k", "operator": "Exists"}],
    ),
    "affinity": ({"nodeAffinity": {}}, lambda o: _pod(o).get("affinity") == {"nodeAffinity": {}}),
    "priorityClassName": ("high", lambda o: _pod(o).get("priorityClassName") == "high"),
}


def _ports(objects: list[Object]) -> dict[str, set[int]]:
    """Return the numbers under which Service and container know each port."""
    service = {port["name"]: port["port"] for port in one(objects, "Service")["spec"]["ports"]}
    container = {port["name"]: port["containerPort"] for port in _container(objects)["ports"]}
    return {name: {service[name], container[name]} for name in ("metrics", "health")}


def _nested(path: str, value: Any) -> Object:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def _with(path: str, value: Any) -> Object:
    values = _nested(path, value)
    if path == "leaderElection.enabled":
        values["replicas"] = 1
    return values


@pytest.mark.parametrize("path", SWITCHES)
def test_a_value_changes_what_it_is_for(path: str) -> None:
    value, holds = SWITCHES[path]

    assert holds(render(_with(path, value)))
    assert not holds(render()), "it holds without the value too: the check says nothing"


def test_every_value_of_the_chart_is_tested_here() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    values.pop("monitoring", None)  # has tests of its own
    leaves = {".".join(path) for path in _leaves(values)}

    assert leaves == set(SWITCHES)


def _leaves(values: Object) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in ("requests", "limits"):
            found += [(key, *rest) for rest in _leaves(value)]
        else:
            found.append((key,))
    return found


def test_by_default_the_crds_are_the_contract_s_own_and_stay() -> None:
    rendered = {crd["metadata"]["name"]: crd for crd in of_kind(render(), "CustomResourceDefinition")}
    files = sorted((CHART.parents[1] / "crds").glob("*.yaml"))

    assert _annotated(render(), "keep")
    assert len(rendered) == len(files) >= 2
    for file in files:
        crd = yaml.safe_load(file.read_text())
        assert rendered[crd["metadata"]["name"]]["spec"] == crd["spec"]


def test_named_namespaces_leave_the_operator_no_right_beyond_them() -> None:
    objects = render({"watchNamespaces": ["safety", "red-team"], "rbac": {"userRoles": False}})

    assert _none_of("ClusterRole", "ClusterRoleBinding")(objects)
    for kind in ("Role", "RoleBinding"):
        found = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in of_kind(objects, kind)}
        assert found == {("safety", NAME), ("red-team", NAME), (NAMESPACE, f"{NAME}-leader")}


def test_two_replicas_without_a_leader_are_refused() -> None:
    assert "/replicas" in refusal({"leaderElection": {"enabled": False}})


def test_one_replica_without_a_leader_never_overlaps_its_successor() -> None:
    deployment = one(render({"leaderElection": {"enabled": False}, "replicas": 1}), "Deployment")

    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
