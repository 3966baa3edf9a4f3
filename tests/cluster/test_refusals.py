"""What the API server refuses by itself, and who may do what."""

from __future__ import annotations

import json

import pytest

from tests.api.manifests import FAULTS, Fault, full, small
from tests.cluster.conftest import Release
from tests.cluster.support.clients import CommandError, Kubectl

REFUSED = [fault for fault in FAULTS if fault.cluster in ("Schema", "Rule")]


def test_there_are_at_least_forty_ways_to_be_refused() -> None:
    assert len(REFUSED) >= 40


@pytest.mark.parametrize("document", [small(), full()], ids=["small", "full"])
def test_a_good_manifest_is_taken(shared: Kubectl, operator: Release, document: dict[str, object]) -> None:
    shared("create", "--dry-run=server", "--validate=strict", "-f", "-", given=json.dumps(_here(document, shared)))


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: f"{fault.at}={fault.put[:20]}")
def test_the_api_server_refuses_a_faulty_manifest_by_its_field(
    shared: Kubectl, operator: Release, fault: Fault
) -> None:
    document = _here(fault.document(), shared)
    with pytest.raises(CommandError) as refused:
        shared("create", "--dry-run=server", "--validate=strict", "-f", "-", given=json.dumps(document))
    # A field that takes text or an object has no schema of its own: the refusal names the judge it is in.
    holder, _, field = fault.names.rpartition(".")
    named = holder if "judges[" in holder and field in ("model", "uri") else field.partition("[")[0]
    assert named.removesuffix(".model") in refused.value.said, refused.value.said


def _here(document: dict[str, object], kubectl: Kubectl) -> dict[str, object]:
    """The document in the test's own namespace."""
    meta = document.get("metadata")
    return {**document, "metadata": {**meta, "namespace": kubectl.namespace}} if isinstance(meta, dict) else document


ALLOWED = [
    ("list", "hardeningruns.hardening.dev", True),
    ("patch", "hardeningruns.hardening.dev/status", True),
    ("delete", "hardeningruns.hardening.dev", False),
    ("create", "promotionapprovals.hardening.dev", False),
    ("create", "jobs.batch", True),
    ("create", "pods", False),
    ("get", "secrets", False),
    ("list", "secrets", False),
    ("create", "clusterroles.rbac.authorization.k8s.io", False),
    ("create", "pods/exec", False),
    ("delete", "persistentvolumeclaims", False),
]


@pytest.mark.parametrize(("verb", "resource", "allowed"), ALLOWED)
def test_the_operator_has_the_rights_it_needs_and_no_others(
    shared: Kubectl, operator: Release, verb: str, resource: str, allowed: bool
) -> None:
    [account] = [
        entry["metadata"]["name"]
        for entry in operator.kubectl.items("serviceaccounts")
        if entry["metadata"]["name"] != "default"
    ]
    user = f"system:serviceaccount:{operator.namespace}:{account}"
    assert shared.can_i(verb, resource, user) is allowed


PEOPLE = [
    ("viewer", "list", "hardeningruns.hardening.dev", True),
    ("viewer", "create", "hardeningruns.hardening.dev", False),
    ("viewer", "get", "secrets", False),
    ("editor", "create", "hardeningruns.hardening.dev", True),
    ("editor", "delete", "hardeningmonitors.hardening.dev", True),
    ("editor", "create", "promotionapprovals.hardening.dev", False),
    ("editor", "patch", "hardeningruns.hardening.dev/status", False),
    ("approver", "create", "promotionapprovals.hardening.dev", True),
    ("approver", "delete", "promotionapprovals.hardening.dev", False),
    ("approver", "create", "hardeningruns.hardening.dev", False),
]


@pytest.mark.parametrize(("role", "verb", "resource", "allowed"), PEOPLE)
def test_people_may_do_what_their_role_is_for(
    shared: Kubectl, operator: Release, role: str, verb: str, resource: str, allowed: bool
) -> None:
    user = f"the-{role}"
    binding = ["rolebinding", user, f"--clusterrole={operator.name}-hardening-operator-{role}", f"--user={user}"]
    shared("apply", "-f", "-", given=shared("create", *binding, "--dry-run=client", "--output=yaml"))
    assert shared.can_i(verb, resource, user) is allowed


@pytest.mark.parametrize(("role", "allowed"), [("view", False), ("edit", True), ("admin", True)])
def test_the_clusters_own_roles_gain_the_rights(
    shared: Kubectl, operator: Release, admin: Kubectl, role: str, allowed: bool
) -> None:
    rules = admin.get("clusterrole", role)["rules"]
    ours = [rule for rule in rules if rule.get("apiGroups") == ["hardening.dev"]]
    assert any("list" in rule["verbs"] and "hardeningruns" in rule["resources"] for rule in ours)
    assert any("create" in rule["verbs"] and "hardeningruns" in rule["resources"] for rule in ours) is allowed
