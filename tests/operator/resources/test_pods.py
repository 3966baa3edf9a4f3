"""Pods: admitted under Pod Security "restricted", with what the run says of them and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from hardening_api.status import StageName
from hardening_operator.resources import CONTAINER, METRICS_PORT
from hardening_operator.settings import OperatorSettings
from tests.operator.resources.made import ALL_STAGES, SETTINGS, container_of, environ_of, pod_of, run_of

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""


def restricted_violations(pod: dict[str, Any]) -> list[str]:
    """What the Pod Security Standard "restricted" has against a pod spec, control by control."""
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [f"volume {v['name']}" for v in pod["volumes"] if not set(v) - {"name"} <= RESTRICTED_VOLUMES]
    shared = pod.get("securityContext", {})
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        effective = shared | own
        checks = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": effective.get("runAsNonRoot") is True,
            "runAsUser": effective.get("runAsUser") != 0,
            "seccomp": effective.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "drop ALL": "ALL" in own.get("capabilities", {}).get("drop", []),
            "add": set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"},
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "procMount": own.get("procMount", "Default") == "Default",
        }
        found += [name for name, good in checks.items() if not good]
    return found


@pytest.mark.parametrize(("round_number", "stage"), ALL_STAGES)
def test_every_pod_keeps_to_restricted_with_a_read_only_root_and_no_token(round_number: int, stage: StageName) -> None:
    pod = pod_of(run_of(training={"nodes": 2}), round_number, stage)
    assert restricted_violations(pod) == []
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    [container] = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/workspace", "/tmp", "/dev/shm"}


def test_the_check_of_restricted_can_fail() -> None:
    pod = pod_of(run_of(), 1, "Attack")
    [container] = pod["containers"]
    container["securityContext"] = {"capabilities": {"add": ["SYS_ADMIN"]}}
    pod["securityContext"] = {}
    pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    assert restricted_violations(pod) == [
        "volume host",
        "allowPrivilegeEscalation",
        "runAsNonRoot",
        "seccomp",
        "drop ALL",
        "add",
    ]


def test_a_stage_has_two_minutes_to_save_and_a_port_for_its_metrics() -> None:
    pod = pod_of(run_of(), 1, "Score")
    [container] = pod["containers"]
    assert (pod["terminationGracePeriodSeconds"], container["name"]) == (120, CONTAINER)
    assert container["ports"] == [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}]


def test_libraries_write_only_where_there_is_a_volume() -> None:
    environ = environ_of(run_of(), 1, "Attack")
    folders = ("HOME", "XDG_CACHE_HOME", "HF_HOME", "HARDENING_CACHE_DIR")
    assert all(environ[name].startswith("/tmp") for name in folders)


def gpus(run_fields: dict[str, Any]) -> dict[str, str | None]:
    run = run_of(**run_fields)
    limits = {
        stage: container_of(run, round_number, stage).get("resources", {}).get("limits", {})
        for round_number, stage in ALL_STAGES
    }
    return {stage: limit.get("nvidia.com/gpu") for stage, limit in limits.items()}


CPU_ONLY = dict.fromkeys(("Attack", "Score", "Evaluate", "TrainAttacker", "TrainDefender", "Promote"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, dict.fromkeys(CPU_ONLY, "1") | {"Promote": None}),
        (
            {"training": {"gpusPerNode": 8}},
            dict.fromkeys(CPU_ONLY, "1") | {"TrainAttacker": "8", "TrainDefender": "8", "Promote": None},
        ),
        ({"training": {"gpusPerNode": 0}}, CPU_ONLY),
        (
            {"training": {"gpusPerNode": 0}, "stages": {"evaluate": {"resources": {"limits": {"nvidia.com/gpu": 2}}}}},
            CPU_ONLY | {"Evaluate": "2"},
        ),
        (
            {"stages": {"attack": {"resources": {"limits": {"nvidia.com/gpu": 0}}}}},
            dict.fromkeys(CPU_ONLY, "1") | {"Promote": None, "Attack": None},
        ),
    ],
)
def test_gpus_are_those_of_the_training_unless_a_stage_says_otherwise(
    fields: dict[str, Any], expected: dict[str, str | None]
) -> None:
    assert gpus(fields) == expected


@pytest.mark.parametrize(
    "name", ["amd.com/gpu", "nvidia.com/mig-1g.10gb", "gpu.intel.com/i915", "nvidia.com/gpu.shared", "amd.com/cpx_nps4"]
)
def test_another_kind_of_gpu_takes_the_place_of_the_default(name: str) -> None:
    run = run_of(stages={"all": {"resources": {"limits": {name: 1}}}})
    assert container_of(run, 1, "Attack")["resources"]["limits"] == {name: "1"}


def test_gpus_asked_for_as_requests_become_limits_as_kubernetes_wants_them() -> None:
    run = run_of(stages={"all": {"resources": {"requests": {"nvidia.com/gpu": 2, "memory": "8Gi"}}}})
    resources = container_of(run, 1, "Attack")["resources"]
    assert resources == {"limits": {"nvidia.com/gpu": "2"}, "requests": {"memory": "8Gi"}}


def test_a_pod_that_was_given_no_gpu_is_shown_none() -> None:
    assert environ_of(run_of(), 1, "Promote")["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_VISIBLE_DEVICES" not in environ_of(run_of(), 1, "Attack")


@pytest.mark.parametrize(
    ("cpu", "processes", "expected"),
    [("4", 1, "4"), ("1500m", 1, "1"), ("250m", 1, "1"), (8, 4, "2"), ("4k", 1, "4000"), (None, 1, None)],
)
def test_threads_follow_the_cpu_limit_and_are_shared_out_among_processes(
    cpu: str | int | None, processes: int, expected: str | None
) -> None:
    limits = {} if cpu is None else {"cpu": cpu}
    run = run_of(
        training={"processesPerNode": processes, "gpusPerNode": 0}, stages={"all": {"resources": {"limits": limits}}}
    )
    assert environ_of(run, 1, "TrainDefender").get("OMP_NUM_THREADS") == expected


ALL = {
    "image": "registry.test/all:1",
    "resources": {"limits": {"memory": "16Gi", "cpu": 4}, "requests": {"memory": "8Gi"}},
    "nodeSelector": {"pool": "gpu", "zone": "a"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "low",
    "runtimeClassName": "nvidia",
    "serviceAccountName": "trainer",
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "HF_HOME", "value": "/models/hf"}, {"name": "TEAM", "value": "safety"}],
    "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
    "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
}
OWN = {
    "resources": {"limits": {"memory": "64Gi"}},
    "nodeSelector": {"zone": "b"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
}
RWX = {"persistentVolumeClaim": {"size": "10Gi"}}


def test_what_is_said_for_all_stages_reaches_the_pod() -> None:
    run = run_of(stages={"all": ALL}, workspace=RWX)
    pod, container = pod_of(run, 1, "Attack"), container_of(run, 1, "Attack")
    for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName"):
        assert pod[name] == ALL[name]
    assert pod["serviceAccountName"] == "trainer"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert container["image"] == "registry.test/all:1"
    assert container["resources"]["requests"] == {"memory": "8Gi"}
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "models"}} in pod["volumes"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]


def test_a_stages_own_word_wins_maps_being_merged_and_lists_replaced() -> None:
    run = run_of(stages={"all": ALL, "trainDefender": OWN}, workspace=RWX)
    pod, container = pod_of(run, 1, "TrainDefender"), container_of(run, 1, "TrainDefender")
    assert pod["nodeSelector"] == {"pool": "gpu", "zone": "b"}
    assert pod["tolerations"] == OWN["tolerations"]
    assert set(pod["affinity"]) == {"nodeAffinity", "podAntiAffinity"}
    assert (pod["priorityClassName"], pod["runtimeClassName"]) == ("high", "nvidia")
    limits = {"memory": "64Gi", "cpu": "4", "nvidia.com/gpu": "1"}
    assert container["resources"] == {"limits": limits, "requests": {"memory": "8Gi"}}
    assert pod_of(run, 1, "TrainAttacker")["tolerations"] == ALL["tolerations"]


def test_a_runs_variable_replaces_a_default_and_no_name_stands_twice() -> None:
    env = container_of(run_of(stages={"all": ALL}), 1, "Attack")["env"]
    names = [variable["name"] for variable in env]
    assert len(names) == len(set(names))
    assert {"name": "HF_HOME", "value": "/models/hf"} in env
    assert {"name": "TEAM", "value": "safety"} in env


def test_a_runs_own_mount_takes_the_place_of_the_temporary_volume() -> None:
    scratch = {"name": "nvme", "ephemeral": {}}
    overrides = {"volumes": [scratch], "volumeMounts": [{"name": "nvme", "mountPath": "/tmp"}]}
    run = run_of(stages={"all": overrides})
    mounts = container_of(run, 1, "Attack")["volumeMounts"]
    assert [mount["name"] for mount in mounts if mount["mountPath"] == "/tmp"] == ["nvme"]
    assert "hardening-tmp" not in [volume["name"] for volume in pod_of(run, 1, "Attack")["volumes"]]


def test_the_image_and_its_secrets_are_the_operators_unless_the_run_names_its_own() -> None:
    settings = OperatorSettings(
        trainer_image="registry.test/t:2", image_pull_secrets=("a", "b"), image_pull_policy="Always"
    )
    container = container_of(run_of(), 1, "Attack", settings=settings)
    assert (container["image"], container["imagePullPolicy"]) == ("registry.test/t:2", "Always")
    run = run_of(stages={"attack": {"imagePullSecrets": [{"name": "b"}, {"name": "c"}], "image": "mine:1"}})
    assert container_of(run, 1, "Attack", settings=settings)["image"] == "mine:1"
    pulled = pod_of(run, 1, "Attack", settings=settings)["imagePullSecrets"]
    assert pulled == [{"name": "b"}, {"name": "c"}, {"name": "a"}]
    assert "imagePullSecrets" not in pod_of(run_of(), 1, "Attack", settings=SETTINGS)
