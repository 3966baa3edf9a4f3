"""The operator's own pods: its settings, its probes, and Pod Security "restricted", checked rule by rule."""

from __future__ import annotations

from dataclasses import fields

import pytest

from hardening_operator.settings import OperatorSettings
from tests.chart.helm import NAME, NAMESPACE, Object, of_kind, one, pod_specs, render

FROM_THE_POD = {"HARDENING_OPERATOR_NAMESPACE": NAMESPACE, "HARDENING_POD_NAME": f"{NAME}-7d4b9-x2x5z"}


def _environment(values: Object | None = None) -> dict[str, str]:
    (container,) = one(render(values), "Deployment")["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", FROM_THE_POD.get(entry["name"])) for entry in container["env"]}


def test_the_chart_sets_every_setting_of_the_operator() -> None:
    assert set(_environment()) == {f"HARDENING_{field.name.upper()}" for field in fields(OperatorSettings)}


def test_the_operator_reads_what_the_chart_sets_and_the_defaults_of_both_agree() -> None:
    read = OperatorSettings.from_environ(_environment())
    expected = OperatorSettings(
        trainer_image="hardening-trainer:0.1.0", operator_namespace=NAMESPACE, pod_name=read.pod_name, lease_name=NAME
    )

    assert read == expected


def test_the_operator_reads_changed_values() -> None:
    read = OperatorSettings.from_environ(
        _environment(
            {
                "watchNamespaces": ["safety", "red-team"],
                "operator": {"resyncSeconds": 3600, "schedulingDeadlineSeconds": 604800},
                "trainerImage": {"pullSecrets": ["a", "b"]},
                "stages": {"networkPolicies": False},
                "leaderElection": {"enabled": False},
                "replicas": 1,
            }
        )
    )

    assert read.namespaces == ("safety", "red-team")
    assert (read.resync_seconds, read.scheduling_deadline_seconds) == (3600.0, 604800.0)
    assert read.image_pull_secrets == ("a", "b")
    assert (read.network_policies, read.leader_election) == (False, False)


def test_pod_name_and_namespace_come_from_the_pod() -> None:
    (container,) = one(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {
        entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in container["env"] if "valueFrom" in entry
    }

    assert paths == {"HARDENING_OPERATOR_NAMESPACE": "metadata.namespace", "HARDENING_POD_NAME": "metadata.name"}


def test_there_are_two_kinds_of_pods() -> None:
    assert set(dict(pod_specs(render()))) == {NAME, f"{NAME}-test"}


@pytest.mark.parametrize("name", [NAME, f"{NAME}-test"])
def test_every_pod_is_restricted(name: str) -> None:
    spec = dict(pod_specs(render()))[name]

    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "initContainers"} & set(spec)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"} <= {"emptyDir"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not [port for port in container.get("ports", []) if "hostPort" in port]
        assert {"requests", "limits"} <= set(container["resources"])


def test_only_the_operator_itself_gets_a_token() -> None:
    tokens = {name: spec["automountServiceAccountToken"] for name, spec in pod_specs(render())}

    assert tokens == {NAME: True, f"{NAME}-test": False}
    assert one(render(), "ServiceAccount")["automountServiceAccountToken"] is False


def test_liveness_and_readiness_ask_different_questions() -> None:
    (container,) = one(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    probes = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "health"},
        "livenessProbe": {"path": "/healthz", "port": "health"},
        "readinessProbe": {"path": "/readyz", "port": "health"},
    }


def test_everything_that_selects_the_operator_s_pods_finds_them_and_not_the_test_s() -> None:
    objects = render()
    deployment = one(objects, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [
        deployment["selector"]["matchLabels"],
        deployment["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        one(objects, "Service")["spec"]["selector"],
        one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]

    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= one(objects, "Pod")["metadata"]["labels"].items()


def test_the_operator_reaches_names_the_api_server_and_its_stages_only() -> None:
    spec = one(render(), "NetworkPolicy")["spec"]
    reached = [
        ({(port["port"], port["protocol"]) for port in rule["ports"]}, rule.get("to")) for rule in spec["egress"]
    ]

    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert reached == [
        ({(53, "UDP"), (53, "TCP")}, None),
        ({(443, "TCP"), (6443, "TCP")}, None),
        (
            {(9464, "TCP")},
            [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "hardening-stage"}}}],
        ),
    ]


def test_an_approval_is_only_taken_in_the_caller_s_own_name() -> None:
    policy = one(render(), "ValidatingAdmissionPolicy")
    binding = one(render(), "ValidatingAdmissionPolicyBinding")["spec"]
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    (validation,) = policy["spec"]["validations"]

    assert policy["spec"]["failurePolicy"] == "Fail"
    assert (rule["resources"], rule["operations"]) == (["promotionapprovals"], ["CREATE"])
    assert validation["expression"] == "object.spec.approver == request.userInfo.username"
    assert binding == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


def test_the_test_pod_asks_for_readiness_and_metrics_where_the_service_offers_them() -> None:
    pod = one(render(), "Pod")
    (script,) = pod["spec"]["containers"][0]["args"]
    ports = {port["name"]: port["port"] for port in one(render(), "Service")["spec"]["ports"]}

    compile(script, "test", "exec")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert f"http://{NAME}.{NAMESPACE}.svc:{ports['health']}/readyz" in script
    assert f"http://{NAME}.{NAMESPACE}.svc:{ports['metrics']}/metrics" in script


def test_all_that_has_a_namespace_names_it() -> None:
    cluster_wide = {
        "CustomResourceDefinition",
        "ClusterRole",
        "ClusterRoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    for document in render():
        assert ("namespace" in document["metadata"]) != (document["kind"] in cluster_wide), document["kind"]


def test_every_object_says_it_belongs_to_the_release() -> None:
    for document in render():
        assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == "release", document["kind"]
        assert document["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm", document["kind"]


def test_a_disruption_budget_never_blocks_the_drain_of_a_single_replica() -> None:
    spec = one(render({"replicas": 1}), "PodDisruptionBudget")["spec"]

    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert len(of_kind(render(), "PodDisruptionBudget")) == 1
