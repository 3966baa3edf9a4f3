"""Who may do what: each right of the chart's roles is in a table here, with its reason. A new one must be argued."""

from __future__ import annotations

import itertools
import re

from tests.chart.helm import CHART, NAME, Object, of_kind, render

Right = tuple[str, str]  # resource.group, verb
OURS = ("hardeningruns.hardening.dev", "hardeningmonitors.hardening.dev", "promotionapprovals.hardening.dev")
READ = ("get", "list", "watch")

# (resources, verbs, why)
WHERE_RUNS_LIVE = [
    (OURS, READ, "kept in memory by watches; a run is read anew after a conflict"),
    (("hardeningruns/status.hardening.dev", "hardeningmonitors/status.hardening.dev"), ("patch", "update"), "status"),
    (("hardeningruns.hardening.dev",), ("create",), "a monitor's rerun; it is never changed nor deleted"),
    (
        ("hardeningruns/finalizers.hardening.dev", "hardeningmonitors/finalizers.hardening.dev"),
        ("update",),
        "asked for where blockOwnerDeletion is checked",
    ),
    (("jobs.batch",), (*READ, "create", "patch", "delete"), "stages and checks: applied, followed, ended"),
    (("pods",), READ, "why a stage waits or failed; Jobs make and remove the pods"),
    (
        ("configmaps", "services", "persistentvolumeclaims"),
        ("get", "create", "patch"),
        "a stage's config, the names of its nodes, a run's workspace: applied, read when refused, gone with the run",
    ),
    (("networkpolicies.networking.k8s.io",), ("get", "create", "patch"), "what a stage may reach"),
    (("events",), ("get", "create", "patch"), "what happened, on the run; the same again is counted"),
]
WHOLE_CLUSTER = [
    (("customresourcedefinitions.apiextensions.k8s.io", "namespaces"), ("list", "watch"), "kopf looks what to serve"),
]
LEADER = [(("leases.coordination.k8s.io",), ("create", "get", "update"), "who leads")]
VIEWER = [(OURS, READ, "sees all kinds")]
EDITOR = [(OURS[:2], ("create", "update", "patch", "delete", "deletecollection"), "writes runs and monitors")]
APPROVER = [
    (OURS[2:], ("create", *READ), "decides; a decision stays on record, so neither changes nor deletes one"),
    (OURS[:1], READ, "sees what is decided on"),
]


def _table(rows: list[tuple[tuple[str, ...], tuple[str, ...], str]]) -> set[Right]:
    return {right for resources, verbs, _ in rows for right in itertools.product(resources, verbs)}


def _rights(role: Object) -> set[Right]:
    found: set[Right] = set()
    for rule in role["rules"]:
        assert set(rule) <= {"apiGroups", "resources", "verbs", "resourceNames"}
        for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            found.add((f"{resource}.{group}" if group else resource, verb))
    return found


def _roles(kind: str, values: Object | None = None) -> dict[str, Object]:
    return {f"{o['metadata'].get('namespace', '')}/{o['metadata']['name']}": o for o in of_kind(render(values), kind)}


def test_the_operator_of_a_whole_cluster_has_these_rights_and_no_others() -> None:
    assert _rights(_roles("ClusterRole")[f"/{NAME}"]) == _table(WHERE_RUNS_LIVE) | _table(WHOLE_CLUSTER)


def test_the_operator_of_a_namespace_has_these_rights_and_no_others() -> None:
    role = _roles("Role", {"watchNamespaces": ["safety"]})[f"safety/{NAME}"]

    assert _rights(role) == _table(WHERE_RUNS_LIVE)


def test_the_lease_is_the_only_thing_beside_it_in_its_own_namespace_and_bound_to_its_name() -> None:
    (role,) = _roles("Role").values()

    assert _rights(role) == _table(LEADER)
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, [NAME]]
    assert role["rules"][0]["verbs"] == ["create"]


def test_people_get_what_their_part_needs() -> None:
    roles = _roles("ClusterRole")

    assert _rights(roles[f"/{NAME}-viewer"]) == _table(VIEWER)
    assert _rights(roles[f"/{NAME}-editor"]) == _table(EDITOR)
    assert _rights(roles[f"/{NAME}-approver"]) == _table(APPROVER)


def test_the_parts_join_the_cluster_s_own_roles_and_an_editor_is_no_approver() -> None:
    joined = {
        name.rpartition("-")[2]: [key.rpartition("-")[2] for key in role["metadata"]["labels"] if "aggregate" in key]
        for name, role in _roles("ClusterRole").items()
        if name != f"/{NAME}"
    }

    assert joined == {"viewer": ["view"], "editor": ["edit"], "approver": ["admin"]}


def test_no_role_speaks_of_secrets_or_of_everything() -> None:
    for values in ({}, {"watchNamespaces": ["safety"]}):
        for kind in ("ClusterRole", "Role"):
            for role in _roles(kind, values).values():
                for right in _rights(role):
                    assert "*" not in "".join(right)
                    assert "secrets" not in right[0]


def test_every_rule_of_the_operator_says_for_whom_it_is() -> None:
    lines = (CHART / "templates" / "_rbac.tpl").read_text().splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("- apiGroups")]

    assert len(rules) == len(WHERE_RUNS_LIVE) + len(WHOLE_CLUSTER) + 1  # the last row there is two rules
    for number in rules:
        comment = next(line for line in reversed(lines[:number]) if not re.match(r"- |  |\{\{", line))
        assert re.match(r"# (Framework|Application): ", comment), lines[number]
