"""The pod template of a stage. It keeps to the Pod Security Standard "restricted"."""

from __future__ import annotations

from typing import Any

from hardening_operator.planner.names import OWNER_UID_LABEL, WORKSPACE_LABEL
from hardening_operator.resources.attempt import StageAttempt
from hardening_operator.resources.claims import mounted_claim, on_one_node
from hardening_operator.resources.devices import container_resources
from hardening_operator.resources.environment import environment
from hardening_operator.resources.volumes import CONFIG_FOLDER, mounts, volumes

CONTAINER = "stage"
METRICS_PORT = 9464
USER = 65532
GRACE_SECONDS = 120
"""A stage that is asked to stop saves what it has within this time."""
TERMINATION_LOG = "/dev/termination-log"


def pod_template(attempt: StageAttempt) -> dict[str, Any]:
    """Return the template of a stage's pods."""
    overrides = attempt.overrides
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(attempt)],
        "volumes": volumes(attempt),
    }
    given = {
        "subdomain": attempt.service if attempt.nodes > 1 else None,
        "nodeSelector": overrides.node_selector,
        "tolerations": overrides.tolerations,
        "affinity": _affinity(attempt),
        "priorityClassName": overrides.priority_class_name,
        "runtimeClassName": overrides.runtime_class_name,
        "serviceAccountName": overrides.service_account_name,
        "imagePullSecrets": _pull_secrets(attempt),
    }
    spec |= {name: value for name, value in given.items() if value}
    owner = {OWNER_UID_LABEL: attempt.owner["uid"]}
    return {"metadata": {"labels": dict(attempt.labels) | owner | _workspace_label(attempt)}, "spec": spec}


def _container(attempt: StageAttempt) -> dict[str, Any]:
    resources = container_resources(attempt)
    return {
        "name": CONTAINER,
        "image": attempt.overrides.image or attempt.settings.trainer_image,
        "imagePullPolicy": attempt.settings.image_pull_policy,
        "command": ["python", "-m", "hardening_trainer", attempt.command],
        "args": [
            *("--config", f"{CONFIG_FOLDER}/shard-{_config_index(attempt)}.json"),
            *("--result", TERMINATION_LOG),
            *("--metrics-port", str(METRICS_PORT)),
        ],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "env": environment(attempt),
        "volumeMounts": mounts(attempt),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    } | ({"resources": resources} if resources else {})


def _config_index(attempt: StageAttempt) -> str:
    """The kubelet puts in each shard's own index; the nodes of one training all get the same one."""
    return "0" if attempt.trains else "$(JOB_COMPLETION_INDEX)"


def _pull_secrets(attempt: StageAttempt) -> list[dict[str, str]]:
    own = [ref.name for ref in attempt.overrides.image_pull_secrets]
    return [{"name": name} for name in dict.fromkeys((*own, *attempt.settings.image_pull_secrets))]


def _affinity(attempt: StageAttempt) -> dict[str, Any]:
    """The given affinity; where one node alone can mount the workspace, all pods that do also go to the same one."""
    affinity: dict[str, Any] = attempt.overrides.affinity or {}
    labels = _workspace_label(attempt)
    if not labels:
        return affinity
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    pods = affinity.get("podAffinity", {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    return affinity | {"podAffinity": pods | {required: [*pods.get(required, []), term]}}


def _workspace_label(attempt: StageAttempt) -> dict[str, str]:
    """By what pods find those they must share a node with: reruns and checks mount the claim of the run they follow."""
    claim = mounted_claim(attempt.holder)
    return {WORKSPACE_LABEL: claim} if claim is not None and on_one_node(attempt.holder, attempt.settings) else {}
