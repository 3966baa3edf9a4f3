"""What the builders make, before a real API server, scheduler and kubelet."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from hardening_api.status import StageName
from hardening_operator.resources import run_objects, run_problems
from tests.cluster.support.clients import CommandError, Kubectl
from tests.operator.resources.made import ALL_STAGES, SETTINGS, child, children, run_of
from tests.operator.resources.test_schemas import EVERYTHING, RUNS
from tests.operator.resources.test_workspace import BUCKET

MANAGER = "--field-manager=hardening-operator"
_SEE = """
import json, os, socket, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))

def writable(folder):
    try:
        open(folder + "/file", "w").close()
    except OSError:
        return False
    return True

def meet():
    if "MASTER_ADDR" not in os.environ:
        return None
    if os.environ["HARDENING_NODE_RANK"] == "0":
        with socket.create_server(("", 29500)) as server:
            server.settimeout(60)
            peer, _ = server.accept()
            peer.sendall(b"met")
            return "met"
    for _ in range(120):
        try:
            peer = socket.create_connection((os.environ["MASTER_ADDR"], 29500), timeout=5)
            return peer.recv(3).decode()
        except OSError:
            import time
            time.sleep(0.5)

secrets = os.environ["HARDENING_SECRETS_DIR"]
found = {
    "shard": json.load(open(given["--config"]))["shard"]["index"],
    "rank": os.environ.get("HARDENING_NODE_RANK"),
    "host": socket.gethostname(),
    "user": os.getuid(),
    "writable": [folder for folder in ("/", "/etc", "/tmp", "/dev/shm", "/workspace") if writable(folder)],
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
    "secrets": sorted(os.listdir(secrets)) if os.path.exists(secrets) else [],
    "key": os.path.exists(secrets + "/base-token/token") and open(secrets + "/base-token/token").read(),
    "bucket": os.environ.get("AWS_SECRET_ACCESS_KEY"),
    "met": meet(),
}
open(given["--result"], "w").write(json.dumps(found))
"""
"""Run in place of the trainer: it tells what a stage would find."""


def applied(kubectl: Kubectl, documents: list[dict[str, Any]], *options: str) -> None:
    """Apply as the operator does: server-side, every field known."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    kubectl("apply", "--server-side", MANAGER, "--validate=strict", *options, "-f", "-", given=given)


def made_for(
    kubectl: Kubectl, name: str, fields: dict[str, Any], *stages: tuple[int, StageName]
) -> list[dict[str, Any]]:
    """All that is made for some stages of a run in the test's namespace, for their twelfth attempt."""
    run = run_of(name, namespace=kubectl.namespace, labels={"kueue.x-k8s.io/queue-name": "gpu"}, **fields)
    found = run_objects(run, SETTINGS)
    for round_number, stage in stages:
        found += children(run, round_number, stage, attempt=12)
    return found


def last_pod(job: dict[str, Any]) -> dict[str, Any]:
    """The last pod a Job of 256 shards would make. Classes and accounts that only some clusters have are left out."""
    template = copy.deepcopy(job["spec"]["template"])
    for field in ("priorityClassName", "runtimeClassName", "serviceAccountName"):
        template["spec"].pop(field, None)
    metadata = {**template["metadata"], "name": f"{job['metadata']['name']}-255-x7k2p"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.parametrize("name", RUNS)
def test_the_api_server_takes_every_object_and_admits_every_pod_as_restricted(kubectl: Kubectl, name: str) -> None:
    made = made_for(kubectl, "7" * 52, RUNS[name], *ALL_STAGES, *((100, stage) for _, stage in ALL_STAGES[1:-1]))
    applied(kubectl, made, "--dry-run=server")
    # A Job is taken whatever its pods are, so they are shown to Pod Security as well.
    applied(kubectl, [last_pod(entry) for entry in made if entry["kind"] == "Job"], "--dry-run=server")


def test_what_the_api_server_refuses_it_refuses_by_field(kubectl: Kubectl) -> None:
    [job] = [entry for entry in made_for(kubectl, "demo", EVERYTHING, (1, "Attack")) if entry["kind"] == "Job"]
    job["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"] = [65, 64]
    with pytest.raises(CommandError, match=r"podFailurePolicy\.rules\[1\]\.onExitCodes\.values"):
        applied(kubectl, [job], "--dry-run=server")


def test_a_second_apply_writes_nothing(kubectl: Kubectl) -> None:
    documents = [unowned(entry) for entry in made_for(kubectl, "demo", EVERYTHING, (1, "TrainDefender"))]
    applied(kubectl, documents)
    before = [written(kubectl, entry) for entry in documents]
    applied(kubectl, documents)
    assert [written(kubectl, entry) for entry in documents] == before


def test_a_job_that_kueue_holds_stays_held_when_it_is_applied_again(kubectl: Kubectl) -> None:
    documents = [unowned(entry) for entry in made_for(kubectl, "demo", {"training": {"gpusPerNode": 0}}, (1, "Attack"))]
    job = child(documents, "Job")
    applied(kubectl, documents)
    held = {"apiVersion": "batch/v1", "kind": "Job", "metadata": job["metadata"], "spec": {"suspend": True}}
    kubectl("apply", "--server-side", "--field-manager=kueue", "--force-conflicts", "-f", "-", given=json.dumps(held))
    applied(kubectl, documents)
    assert kubectl.get("job", job["metadata"]["name"])["spec"]["suspend"] is True


BEYOND_THE_API: dict[str, dict[str, Any]] = {
    "a number for text": {"tolerations": [{"key": 1}]},
    "a number for an object": {"affinity": {"nodeAffinity": 3}},
    "an unknown field": {"env": [{"name": "A", "val": "x"}]},
    "two volumes of one name": {"volumes": [{"name": "a", "emptyDir": {}}] * 2},
    "a mount without name": {"volumeMounts": [{"mountPath": "/data"}]},
}


def test_overrides_the_api_server_cannot_read_are_found_before_it_is_asked(kubectl: Kubectl) -> None:
    for what, overrides in BEYOND_THE_API.items():
        fields = {"stages": {"all": overrides}}
        assert run_problems(run_of(**fields)), what
        job = child(made_for(kubectl, "demo", fields, (1, "Attack")), "Job")
        with pytest.raises(CommandError):
            applied(kubectl, [job], "--dry-run=server")


def written(kubectl: Kubectl, document: dict[str, Any]) -> list[dict[str, Any]]:
    """What the operator's field manager wrote of an object, and when."""
    arguments = ("get", document["kind"], document["metadata"]["name"], "--output=json", "--show-managed-fields")
    entries = json.loads(kubectl(*arguments))["metadata"]["managedFields"]
    return [entry for entry in entries if entry["manager"] == "hardening-operator"]


def unowned(document: dict[str, Any]) -> dict[str, Any]:
    """The same without its owner: there is no run here, and what a missing run owns is deleted."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "ownerReferences"}
    return {**document, "metadata": metadata}


def seen_by(kubectl: Kubectl, made: list[dict[str, Any]], image: str) -> dict[int, dict[str, Any]]:
    """Run a stage's Job with `_SEE` in place of the trainer, and return what each of its pods found, by index."""
    documents = [unowned(entry) for entry in made]
    job = child(documents, "Job")
    [container] = job["spec"]["template"]["spec"]["containers"]
    container |= {"image": image, "command": ["python3", "-c", _SEE]}
    applied(kubectl, documents)
    kubectl.wait(f"job/{job['metadata']['name']}", "Complete", 120)
    label = "batch.kubernetes.io/job-completion-index"
    found = {}
    for pod in kubectl.items("pods", f"batch.kubernetes.io/job-name={job['metadata']['name']}"):
        ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        found[int(pod["metadata"]["labels"][label])] = json.loads(ended["message"])
    return found


def secret(kubectl: Kubectl, name: str, **values: str) -> None:
    kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values})


def test_two_nodes_of_a_training_meet_each_with_its_number_and_the_secret(kubectl: Kubectl, python_image: str) -> None:
    secret(kubectl, "base-token", token="a-token")
    model = {"uri": "hf://org/base", "secretRef": {"name": "base-token"}}
    made = made_for(
        kubectl, "7" * 52, {"model": model, "training": {"nodes": 2, "gpusPerNode": 1}}, (1, "TrainDefender")
    )
    found = seen_by(kubectl, made, python_image)
    assert {index: (pod["rank"], pod["shard"], pod["met"]) for index, pod in found.items()} == {
        0: ("0", 0, "met"),
        1: ("1", 0, "met"),
    }
    name = child(made, "Job")["metadata"]["name"]
    for index, pod in found.items():
        assert pod["host"] == f"{name}-{index}"
        assert (pod["user"], pod["token"]) == (65532, False)
        assert pod["writable"] == ["/tmp", "/dev/shm", "/workspace"]
        assert (pod["secrets"], pod["key"]) == (["base-token"], "a-token")


def test_each_shard_reads_its_own_config_and_a_bucket_its_keys(kubectl: Kubectl, python_image: str) -> None:
    secret(kubectl, "bucket", AWS_ACCESS_KEY_ID="an-id", AWS_SECRET_ACCESS_KEY="a-key")
    fields = {"workspace": BUCKET, "stages": {"all": {"shards": 2}}, "training": {"gpusPerNode": 0}}
    found = seen_by(kubectl, made_for(kubectl, "demo", fields, (1, "Attack")), python_image)
    assert {index: (pod["shard"], pod["rank"]) for index, pod in found.items()} == {0: (0, None), 1: (1, None)}
    assert {pod["bucket"] for pod in found.values()} == {"a-key"}
    assert all(pod["writable"] == ["/tmp", "/dev/shm"] for pod in found.values())


def test_a_secret_that_is_missing_does_not_hold_the_stage_back(kubectl: Kubectl, python_image: str) -> None:
    model = {"uri": "hf://org/base", "secretRef": {"name": "base-token"}}
    made = made_for(kubectl, "demo", {"model": model, "training": {"gpusPerNode": 0}}, (1, "Attack"))
    [pod] = seen_by(kubectl, made, python_image).values()
    assert (pod["secrets"], pod["key"]) == (["base-token"], False)
