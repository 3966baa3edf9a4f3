"""The Job of a stage: how many pods, what their ends mean, and what is left to Kueue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hardening_api.status import StageName
from tests.operator.resources.made import (
    ALL_STAGES,
    OFFLINE,
    child,
    children,
    configs_of,
    container_of,
    environ_of,
    job_of,
    pod_of,
    run_of,
)

TRAININGS: tuple[StageName, StageName] = ("TrainAttacker", "TrainDefender")


@pytest.mark.parametrize(("round_number", "stage"), ALL_STAGES)
def test_every_stage_is_an_indexed_job_that_never_tries_again_by_itself(round_number: int, stage: StageName) -> None:
    spec = job_of(run_of(), round_number, stage)["spec"]
    assert (spec["completionMode"], spec["backoffLimit"], spec["podReplacementPolicy"]) == ("Indexed", 0, "Failed")
    assert (spec["completions"], spec["parallelism"]) == (1, 1)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_objects_come_in_the_order_to_create_them_the_job_last() -> None:
    kinds = [entry["kind"] for entry in children(run_of(training={"nodes": 2}), 1, "TrainDefender")]
    assert kinds == ["ConfigMap", "NetworkPolicy", "Service", "Job"]


def test_a_shard_is_a_pod_that_reads_its_own_config() -> None:
    made = children(run_of(stages={"all": {"shards": 3}}), 1, "Attack")
    spec = child(made, "Job")["spec"]
    assert (spec["completions"], spec["parallelism"]) == (3, 3)
    data = child(made, "ConfigMap")["data"]
    assert {name: json.loads(text)["shard"]["index"] for name, text in data.items()} == {
        "shard-0.json": 0,
        "shard-1.json": 1,
        "shard-2.json": 2,
    }
    [container] = spec["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "hardening_trainer", "attack"]
    assert container["args"] == [
        *("--config", "/etc/hardening/stage/shard-$(JOB_COMPLETION_INDEX).json"),
        *("--result", "/dev/termination-log"),
        *("--metrics-port", "9464"),
    ]


def test_what_is_told_is_the_stages_config_to_the_letter() -> None:
    run = run_of()
    [config] = configs_of(run, 1, "Score")
    told = child(children(run, 1, "Score"), "ConfigMap")["data"]["shard-0.json"]
    assert type(config).model_validate_json(told) == config


def test_256_shards_fill_several_config_maps_that_the_pod_sees_as_one_folder() -> None:
    run = run_of(stages={"all": {"shards": 256}}, rounds=100)
    made = children(run, 100, "Evaluate", attempt=12)
    maps = [entry for entry in made if entry["kind"] == "ConfigMap"]
    assert len(maps) > 1
    assert all(len(json.dumps(entry).encode()) < 1024 * 1024 for entry in maps)
    assert sorted(name for entry in maps for name in entry["data"]) == sorted(f"shard-{i}.json" for i in range(256))
    volume = child(made, "Job")["spec"]["template"]["spec"]["volumes"][0]
    names = [source["configMap"]["name"] for source in volume["projected"]["sources"]]
    assert names == [entry["metadata"]["name"] for entry in maps]


@pytest.mark.parametrize("stage", TRAININGS)
def test_nodes_of_one_training_read_one_config_and_find_the_first_of_them(stage: StageName) -> None:
    run = run_of(training={"nodes": 4})
    made = children(run, 1, stage)
    name = child(made, "Job")["metadata"]["name"]
    spec = child(made, "Job")["spec"]
    assert (spec["completions"], spec["parallelism"]) == (4, 4)
    assert list(child(made, "ConfigMap")["data"]) == ["shard-0.json"]
    assert "/etc/hardening/stage/shard-0.json" in container_of(run, 1, stage)["args"]
    environ = environ_of(run, 1, stage)
    assert environ["MASTER_ADDR"] == f"{name}-0.{name}"
    rank = environ["HARDENING_NODE_RANK"]["fieldRef"]["fieldPath"]
    assert rank == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    service = child(made, "Service")
    assert service["metadata"]["name"] == pod_of(run, 1, stage)["subdomain"] == name
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert service["spec"]["selector"] == child(made, "Job")["metadata"]["labels"]


def test_a_run_whose_name_begins_with_a_digit_finds_its_nodes_under_a_name_a_service_may_have() -> None:
    run = run_of("7b", training={"nodes": 2})
    service = child(children(run, 1, "TrainDefender"), "Service")["metadata"]["name"]
    assert service[0].isalpha()
    assert pod_of(run, 1, "TrainDefender")["subdomain"] == service
    assert environ_of(run, 1, "TrainDefender")["MASTER_ADDR"] == f"7b-r1-train-defender-0.{service}"


@pytest.mark.parametrize(("round_number", "stage"), ALL_STAGES)
def test_a_shard_is_never_taken_for_the_second_node_of_a_training(round_number: int, stage: StageName) -> None:
    # The trainer lets node 0 alone commit: shard 1 with a node's number would leave nothing.
    run = run_of(stages={"all": {"shards": 2}})
    assert not {"HARDENING_NODE_RANK", "MASTER_ADDR"} & environ_of(run, round_number, stage).keys()
    assert "subdomain" not in pod_of(run, round_number, stage)
    assert "Service" not in [entry["kind"] for entry in children(run, round_number, stage)]


def failed_by(pod: dict[str, Any]) -> str:
    """What a Job does about a failed pod, read as Kubernetes documents podFailurePolicy: the first rule that fits."""
    for rule in job_of(run_of(), 1, "Attack")["spec"]["podFailurePolicy"]["rules"]:
        wanted = rule.get("onPodConditions")
        if wanted and any(condition in pod.get("conditions", []) for condition in wanted):
            return str(rule["action"])
        codes = rule.get("onExitCodes")
        if codes and codes["containerName"] == "stage" and pod.get("exit") in codes["values"]:
            assert codes["operator"] == "In"
            return str(rule["action"])
    return "Count"


DISRUPTED = [{"type": "DisruptionTarget", "status": "True"}]


@pytest.mark.parametrize(
    ("pod", "action"),
    [
        ({"exit": 64}, "FailJob"),
        ({"exit": 65}, "FailJob"),
        ({"exit": 69}, "Count"),
        ({"exit": 70}, "Count"),
        ({"exit": 75}, "Ignore"),
        ({"exit": 137}, "Count"),
        ({"exit": 137, "conditions": DISRUPTED}, "Ignore"),
        ({"exit": 64, "conditions": DISRUPTED}, "Ignore"),
    ],
)
def test_a_disruption_is_free_an_application_error_ends_the_job_and_the_rest_counts(
    pod: dict[str, Any], action: str
) -> None:
    assert failed_by(pod) == action


def test_the_runs_deadline_is_the_jobs_backstop() -> None:
    assert job_of(run_of(activeDeadlineSeconds=7200), 1, "Attack")["spec"]["activeDeadlineSeconds"] == 7200
    assert "activeDeadlineSeconds" not in job_of(run_of(), 1, "Attack")["spec"]


@pytest.mark.parametrize(("given", "kept"), [(0, 600), (60, 600), (86400, 86400)])
def test_a_finished_job_stays_long_enough_to_be_read(given: int, kept: int) -> None:
    assert job_of(run_of(ttlSecondsAfterFinished=given), 1, "Attack")["spec"]["ttlSecondsAfterFinished"] == kept
    assert "ttlSecondsAfterFinished" not in job_of(run_of(), 1, "Attack")["spec"]


def test_kueues_labels_reach_the_job_and_its_switch_is_left_alone() -> None:
    kueue = {"kueue.x-k8s.io/queue-name": "gpu", "kueue.x-k8s.io/priority-class": "low"}
    made = children(run_of(labels={**kueue, "team": "safety"}), 1, "Attack")
    job = child(made, "Job")
    assert kueue.items() <= job["metadata"]["labels"].items()
    assert "team" not in job["metadata"]["labels"]
    assert "suspend" not in job["spec"]
    assert not any(name.startswith("kueue") for name in job["spec"]["template"]["metadata"]["labels"])


@pytest.mark.parametrize(("round_number", "stage"), ALL_STAGES)
def test_the_same_arguments_always_give_the_same_objects(round_number: int, stage: StageName) -> None:
    run = run_of(**OFFLINE)
    assert children(run, round_number, stage) == children(run, round_number, stage)


def test_a_run_without_uid_cannot_own_anything() -> None:
    run = run_of()
    unsaved = run.model_copy(update={"metadata": run.metadata.model_copy(update={"uid": None})})
    with pytest.raises(ValueError, match=r"metadata\.uid of demo: got nothing"):
        children(unsaved, 1, "Attack")
