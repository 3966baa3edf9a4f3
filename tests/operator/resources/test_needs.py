"""What a stage may reach: the Secrets its config names and the ports its addresses have, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from hardening_api.run import HardeningRun
from hardening_api.status import StageName
from hardening_operator.settings import OperatorSettings
from tests.operator.resources.made import ALL_STAGES, OFFLINE, child, children, container_of, pod_of, run_of

SECRETIVE: dict[str, Any] = {
    "model": {"uri": "hf://org/base", "secretRef": {"name": "base-token"}},
    "attacker": {"model": {"uri": "hf://org/attacker", "secretRef": {"name": "attacker-token"}}},
    "data": {
        "preferences": {"uri": "hf://org/pairs", "secretRef": {"name": "data-token"}},
        "evaluation": {"harmful": {"uri": "file:///held-out.jsonl"}},
    },
    "evaluation": {
        "judges": [
            {
                "name": "gpt",
                "type": "OpenAI",
                "baseUrl": "https://judge.test:8443/v1",
                "model": "m",
                "secretRef": {"name": "judge-key"},
            },
            {
                "name": "guard",
                "type": "LlamaGuard",
                "model": {"uri": "s3://models/guard", "secretRef": {"name": "guard"}},
            },
        ]
    },
    "promotion": {
        "gates": {"winRate": {"min": 0.5}},
        "targets": [{"type": "S3", "uri": "s3://models/out", "secretRef": {"name": "models"}}],
    },
}


def secrets(run: HardeningRun, round_number: int, stage: StageName) -> set[str]:
    volumes = pod_of(run, round_number, stage)["volumes"]
    return {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}


@pytest.mark.parametrize(
    ("round_number", "stage", "expected"),
    [
        (0, "Evaluate", {"base-token", "attacker-token", "data-token", "judge-key", "guard"}),
        (1, "Attack", {"attacker-token", "data-token"}),
        (1, "Score", {"base-token", "attacker-token"}),
        (1, "TrainAttacker", {"attacker-token"}),
        (1, "TrainDefender", {"base-token"}),
        (2, "TrainDefender", set()),
        (1, "Promote", {"models"}),
    ],
)
def test_a_stage_is_given_the_secrets_of_its_own_config(
    round_number: int, stage: StageName, expected: set[str]
) -> None:
    assert secrets(run_of(**SECRETIVE), round_number, stage) == expected


def test_a_secret_lies_where_the_trainer_looks_for_it() -> None:
    run = run_of(**SECRETIVE)
    container = container_of(run, 1, "TrainDefender")
    [variable] = [entry for entry in container["env"] if entry["name"] == "HARDENING_SECRETS_DIR"]
    [mount] = [entry for entry in container["volumeMounts"] if entry["name"] == "hardening-secret-0"]
    assert mount == {"name": "hardening-secret-0", "mountPath": f"{variable['value']}/base-token", "readOnly": True}
    [volume] = [entry for entry in pod_of(run, 1, "TrainDefender")["volumes"] if entry["name"] == mount["name"]]
    assert volume["secret"] == {"secretName": "base-token", "defaultMode": 0o440, "optional": True}


def test_a_secret_named_twice_is_mounted_once() -> None:
    token = {"secretRef": {"name": "hub"}}
    run = run_of(
        model={"uri": "hf://org/base", **token},
        data={"preferences": {"uri": "hf://org/p", **token}, "evaluation": {"harmful": {"uri": "hf://org/h", **token}}},
    )
    mounts = [entry["mountPath"] for entry in container_of(run, 0, "Evaluate")["volumeMounts"]]
    assert mounts.count("/etc/hardening/secrets/hub") == 1


def policy(run: HardeningRun, round_number: int, stage: StageName) -> dict[str, Any]:
    spec: dict[str, Any] = child(children(run, round_number, stage), "NetworkPolicy")["spec"]
    return spec


def tcp_ports(run: HardeningRun, round_number: int, stage: StageName) -> set[int]:
    """Ports a stage may connect to anywhere, look-ups of names left out."""
    rules = [rule for rule in policy(run, round_number, stage)["egress"] if "to" not in rule]
    return {port["port"] for rule in rules for port in rule["ports"]} - {53}


@pytest.mark.parametrize(("round_number", "stage"), ALL_STAGES)
def test_a_run_that_needs_nothing_from_outside_reaches_nothing_but_names(round_number: int, stage: StageName) -> None:
    spec = policy(run_of(**OFFLINE), round_number, stage)
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == [{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]
    assert spec["ingress"] == [{"ports": [{"protocol": "TCP", "port": 9464}]}]


@pytest.mark.parametrize(
    ("round_number", "stage", "ports"),
    [(0, "Evaluate", {443, 8443}), (1, "Attack", {443}), (2, "TrainDefender", set()), (1, "Promote", {443})],
)
def test_a_stage_reaches_the_ports_of_what_it_reads(round_number: int, stage: StageName, ports: set[int]) -> None:
    assert tcp_ports(run_of(**SECRETIVE), round_number, stage) == ports


@pytest.mark.parametrize(
    ("workspace", "ports"),
    [
        ({"s3": {"uri": "s3://runs"}}, {443}),
        ({"s3": {"uri": "s3://runs", "endpointUrl": "http://minio.storage:9000"}}, {9000}),
        ({"s3": {"uri": "s3://runs", "endpointUrl": "http://minio.storage"}}, {80}),
    ],
)
def test_a_bucket_opens_its_servers_port(workspace: dict[str, Any], ports: set[int]) -> None:
    assert tcp_ports(run_of(**OFFLINE, workspace=workspace), 1, "TrainDefender") == ports


@pytest.mark.parametrize(
    ("env", "ports"),
    [
        ([{"name": "HF_ENDPOINT", "value": "http://mirror.test:8081"}], {8081}),
        ([{"name": "HTTPS_PROXY", "value": "http://proxy.test:3128"}], {443, 3128}),
        ([{"name": "https_proxy", "value": "proxy.test:3128"}], {443, 3128}),
        ([{"name": "HTTPS_PROXY", "value": "http://proxy.test:none"}], {443, 80}),
        ([{"name": "HF_ENDPOINT", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}], {443}),
    ],
)
def test_a_mirror_or_a_proxy_named_in_env_is_reached(env: list[dict[str, Any]], ports: set[int]) -> None:
    assert tcp_ports(run_of(stages={"all": {"env": env}}), 1, "Attack") == ports


def test_a_proxy_alone_opens_nothing() -> None:
    env = [{"name": "HTTPS_PROXY", "value": "http://proxy.test:3128"}]
    assert tcp_ports(run_of(**OFFLINE, stages={"all": {"env": env}}), 1, "Attack") == set()


def test_nodes_of_one_training_reach_each_other_and_nobody_else_does() -> None:
    spec = policy(run_of(**OFFLINE, training={"nodes": 2}), 1, "TrainDefender")
    labels = spec["podSelector"]
    assert labels["matchLabels"]["hardening.dev/attempt"] == "1"
    assert spec["ingress"][1:] == [{"from": [{"podSelector": labels}]}]
    assert spec["egress"][1:] == [{"to": [{"podSelector": labels}]}]


def test_policies_can_be_left_to_somebody_else() -> None:
    settings = OperatorSettings(trainer_image="t", network_policies=False)
    assert [entry["kind"] for entry in children(run_of(), 1, "Attack", settings=settings)] == ["ConfigMap", "Job"]
