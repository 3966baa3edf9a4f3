"""The cluster itself: what the operator's tests rely on is true of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster, kubeconfig_of
from tests.cluster.support.clients import CommandError, Kubectl
from tests.cluster.support.pods import claim, mounted, python_job, python_pod
from tools.cluster import cluster as bringup
from tools.cluster.settings import from_environment

_ASK_THE_API = """
import json, os, socket, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
address = socket.gethostbyname("kubernetes.default.svc")
request = urllib.request.Request("https://kubernetes.default.svc/version")
request.add_header("Authorization", "Bearer " + open(folder + "token").read())
version = json.load(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=folder + "ca.crt")))
try:
    open("/file", "w")
    writable = True
except OSError:
    writable = False
answer = {"user": os.getuid(), "writable": writable, "address": address, "version": version["gitVersion"]}
open("/dev/termination-log", "w").write(json.dumps(answer))
"""

_MEET = """
import os, socket, time
if os.environ["JOB_COMPLETION_INDEX"] == "0":
    server = socket.create_server(("", 29500))
    server.settimeout(60)
    peer, _ = server.accept()
    peer.sendall(b"met")
else:
    for _ in range(100):
        try:
            peer = socket.create_connection((HOST, PORT), timeout=5)
            break
        except OSError:
            time.sleep(0.3)
    assert peer.recv(3) == b"met"
"""


def _ended(pod: dict[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _terminated(pod: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


def test_a_restricted_pod_resolves_names_and_calls_the_api(kubectl: Kubectl, python_image: str) -> None:
    kubectl.apply(python_pod("asks", python_image, _ASK_THE_API))
    pod = kubectl.watch("pod/asks", _ended, "ends")
    answer = json.loads(_terminated(pod)["message"])
    assert answer["user"] == 65532
    assert answer["writable"] is False
    assert answer["version"].startswith("v1.")
    assert answer["address"] == kubectl.within("default").get("service", "kubernetes")["spec"]["clusterIP"]


def test_a_pod_that_may_become_root_is_refused(kubectl: Kubectl, python_image: str) -> None:
    pod = python_pod("root", python_image, "pass")
    pod["spec"]["securityContext"].update(runAsNonRoot=False, runAsUser=0)
    with pytest.raises(CommandError, match='violates PodSecurity "restricted'):
        kubectl.apply(pod)


def test_a_job_completes(kubectl: Kubectl, python_image: str) -> None:
    kubectl.apply(python_job("short", python_image, "print('done')"))
    kubectl.wait("job/short", "Complete")
    assert kubectl("logs", "job/short") == "done\n"


@pytest.mark.parametrize("headless", [True, False])
def test_the_pods_of_an_indexed_job_meet_through_a_service(kubectl: Kubectl, python_image: str, headless: bool) -> None:
    name, port = ("meets-0.meets", 29500) if headless else ("meets", 80)
    selector = {"job": "meets", "batch.kubernetes.io/job-completion-index": "0"}
    spec: dict[str, Any] = {"selector": selector, "ports": [{"port": port, "targetPort": 29500}]}
    spec |= {"clusterIP": "None", "publishNotReadyAddresses": True} if headless else {}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "meets"}, "spec": spec},
        python_job(
            "meets",
            python_image,
            f"HOST, PORT = {name!r}, {port}\n{_MEET}",
            {"completions": 2, "parallelism": 2, "completionMode": "Indexed"},
            subdomain="meets",
        ),
    )
    kubectl.wait("job/meets", "Complete")


def test_two_pods_that_are_not_root_share_a_volume(kubectl: Kubectl, python_image: str) -> None:
    kubectl.apply(claim("shared", mode="ReadWriteMany"))
    kubectl.apply(python_pod("writes", python_image, "open('/data/x', 'w').write('seen')", **mounted("shared")))
    kubectl.wait("pod/writes", "jsonpath={.status.phase}=Succeeded")
    kubectl.apply(python_pod("reads", python_image, "print(open('/data/x').read())", **mounted("shared")))
    kubectl.wait("pod/reads", "jsonpath={.status.phase}=Succeeded")
    assert kubectl("logs", "reads") == "seen\n"


def test_a_sized_volume_is_full_when_its_size_is_written(cluster: Cluster, kubectl: Kubectl, python_image: str) -> None:
    cluster.require_own()
    kubectl.apply(claim("small", size="1Mi", storage_class="sized"))
    kubectl.apply(python_pod("fills", python_image, "open('/data/x', 'wb').write(bytes(2 << 20))", **mounted("small")))
    kubectl.wait("pod/fills", "jsonpath={.status.phase}=Failed")
    assert "No space left on device" in kubectl("logs", "fills")


def test_a_deleted_claim_takes_its_volume_along(kubectl: Kubectl) -> None:
    kubectl.apply(claim("brief"))
    kubectl.wait("pvc/brief", "jsonpath={.status.phase}=Bound")
    volume = kubectl.get("pvc", "brief")["spec"]["volumeName"]
    kubectl("delete", "pvc", "brief")
    kubectl.wait(f"pv/{volume}", "delete")


def test_pods_get_the_gpus_there_are_and_wait_for_those_there_are_not(kubectl: Kubectl, python_image: str) -> None:
    def gpus(count: int) -> dict[str, Any]:
        return {"container": {"resources": {"limits": {"nvidia.com/gpu": count}}}}

    kubectl.apply(python_pod("eight", python_image, "pass", **gpus(8)))
    kubectl.wait("pod/eight", "jsonpath={.status.phase}=Succeeded")
    kubectl.apply(python_pod("thousand", python_image, "pass", **gpus(1000)))
    kubectl.wait("pod/thousand", 'jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}=Unschedulable')


def test_a_pod_over_its_memory_limit_is_killed_and_says_so(kubectl: Kubectl, python_image: str) -> None:
    limit = {"container": {"resources": {"limits": {"memory": "32Mi"}}}}
    kubectl.apply(python_pod("greedy", python_image, "len(bytes(1 << 28) * 2)", **limit))
    pod = kubectl.watch("pod/greedy", _ended, "ends")
    assert _terminated(pod)["reason"] == "OOMKilled"


def test_an_image_that_nobody_has_is_reported(kubectl: Kubectl) -> None:
    kubectl.apply(python_pod("missing", "localhost/hardening/no-such-image:1", "pass"))
    waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    kubectl.wait("pod/missing", f"{waiting}=ImagePullBackOff")


def test_logs_and_exec_work(kubectl: Kubectl, python_image: str) -> None:
    kubectl.apply(python_pod("stays", python_image, "print('here', flush=True); import time; time.sleep(600)"))
    kubectl.wait("pod/stays", "Ready")
    assert kubectl("logs", "stays") == "here\n"
    assert kubectl("exec", "stays", "--", "python3", "-c", "print(6 * 7)") == "42\n"


def test_every_write_is_in_the_audit_log(cluster: Cluster, kubectl: Kubectl) -> None:
    log = cluster.require_own().audit_log
    kubectl("create", "configmap", "counted", "--from-literal=a=b")
    entries = [json.loads(line) for line in log.read_text().splitlines() if kubectl.namespace in line]
    writes = [(entry["verb"], entry["objectRef"]["name"]) for entry in entries if entry["user"]["username"] == "admin"]
    assert ("create", "counted") in writes


def test_pods_outlive_a_restart_of_the_api_server(cluster: Cluster, kubectl: Kubectl, python_image: str) -> None:
    settings = cluster.require_own()
    kubectl.apply(python_pod("stays", python_image, "import time; time.sleep(600)"))
    kubectl.wait("pod/stays", "Ready")
    before = kubectl.get("pod", "stays")["status"]["containerStatuses"][0]["containerID"]
    bringup.restart(settings, "kube-apiserver")
    kubectl.wait("pod/stays", "Ready")
    kubectl.apply(python_pod("asks", python_image, _ASK_THE_API))
    assert _terminated(kubectl.watch("pod/asks", _ended, "ends"))["exitCode"] == 0
    assert bringup.is_up(settings)
    assert kubectl.get("pod", "stays")["status"]["containerStatuses"][0]["containerID"] == before


def test_a_drained_node_gives_its_job_back_without_counting_a_failure(
    cluster: Cluster, kubectl: Kubectl, python_image: str
) -> None:
    node = cluster.require_own().node
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    code = "import os, time; time.sleep(600 if not os.path.exists('/data/drained') else 0)"
    kubectl.apply(claim("state"))
    job = {"podFailurePolicy": {"rules": [disrupted]}}
    kubectl.apply(python_job("moves", python_image, code, job, **mounted("state")))
    kubectl.watch("job/moves", lambda found: found["status"].get("ready") == 1, "runs")
    kubectl("exec", "job/moves", "--", "python3", "-c", "open('/data/drained', 'w')")
    try:
        pods = "--pod-selector=job=moves"
        kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", pods, "--timeout=60s")
    finally:
        kubectl("uncordon", node)
    kubectl.wait("job/moves", "Complete")
    assert kubectl.get("job", "moves")["status"].get("failed", 0) == 0


def test_only_the_named_context_can_be_reached(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = json.loads(cluster.kubeconfig.read_text())
    name, entry = ours["current-context"], ours["contexts"][0]["context"]
    other = {"name": "production", "context": entry | {"namespace": "important"}}
    mixed = ours | {"contexts": [*ours["contexts"], other], "current-context": "production"}
    (tmp_path / "mixed").write_text(json.dumps(mixed))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "mixed"))
    found = json.loads(kubeconfig_of(from_environment(), name, tmp_path / "found").read_text())
    assert [context["name"] for context in found["contexts"]] == [found["current-context"]] == [name]
    with pytest.raises(pytest.UsageError, match="E2E_CONTEXT=unknown"):
        kubeconfig_of(from_environment(), "unknown", tmp_path / "none")
