"""Which cluster is meant, and what is said when it cannot be used."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardening_operator.cli.kube.faults import ClusterFault
from hardening_operator.cli.kube.kubeconfig import Where, find
from tests.cli import sample
from tests.cli.cluster import RUNS, FakeCluster, hardening, kubectl_hardening, rbac_refusal
from tests.cli.conftest import run_document


def kubeconfig(path: Path, current: str | None, **namespaces: str | None) -> str:
    """Write a kubeconfig file with a context for each name."""
    contexts = [
        {"name": name, "context": {"cluster": "c", "user": "u", **({"namespace": space} if space else {})}}
        for name, space in namespaces.items()
    ]
    document = {"contexts": contexts, **({"current-context": current} if current else {})}
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_the_current_contexts_namespace_is_used_and_default_without_one(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "a", "one", one="safety", two=None)
    assert find(Where(), {"KUBECONFIG": file}).namespace == "safety"
    assert find(Where(context="two"), {"KUBECONFIG": file}).namespace == "default"
    assert find(Where(namespace="other"), {"KUBECONFIG": file}).namespace == "other"


def test_of_several_files_the_first_that_says_something_counts(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "a", None, one="from-a")
    second = kubeconfig(tmp_path / "b", "one", one="from-b", two="two-of-b")
    third = kubeconfig(tmp_path / "c", "two", three="three-of-c")
    (tmp_path / "empty").write_text("")
    files = os.pathsep.join([str(tmp_path / "absent"), str(tmp_path / "empty"), first, second, third])
    place = find(Where(), {"KUBECONFIG": files})
    assert (place.context, place.namespace) == ("one", "from-a")
    assert place.files == os.pathsep.join([first, second, third])
    assert find(Where(context="three"), {"KUBECONFIG": files}).namespace == "three-of-c"


def test_an_option_wins_over_the_environment(tmp_path: Path) -> None:
    given, other = kubeconfig(tmp_path / "a", "one", one="a"), kubeconfig(tmp_path / "b", "two", two="b")
    assert find(Where(kubeconfig=given), {"KUBECONFIG": other}).context == "one"


@pytest.mark.parametrize(
    ("where", "text", "words"),
    [
        (Where(context="tow"), "", "context: got tow: expected one of one, two"),
        (Where(kubeconfig="/no/such"), "", "--kubeconfig: got /no/such: expected a file that exists"),
        (Where(namespace="../x"), "", "namespace: got ../x: expected lower-case letters"),
        (Where(), "- a list", "got list: expected a kubeconfig file"),
        (Where(), "a: [", "got no yaml: expected a readable kubeconfig file"),
        (Where(), "contexts: [{name: one}]", "got no current-context: expected --context with one of one"),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_is_said(tmp_path: Path, where: Where, text: str, words: str) -> None:
    file = kubeconfig(tmp_path / "a", "one", one="a", two="b")
    if text:
        Path(file).write_text(text)
    with pytest.raises(ClusterFault, match=words.replace("[", r"\[")):
        find(where, {"KUBECONFIG": file})


def test_without_a_cluster_a_bare_name_is_said_to_be_no_folder_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    shown = hardening("status", "mistral-7b")
    assert shown.exit_code == 2
    assert shown.stderr.startswith("mistral-7b: no folder of that name is here, and no cluster is named: ")
    assert kubectl_hardening("status", "mistral-7b").stderr.startswith("no cluster is named: ")


@pytest.mark.parametrize(
    ("verb", "command", "role"),
    [("get", ("status", "small"), "viewer"), ("create", ("retry", "small"), "editor")],
)
def test_a_caller_without_a_role_is_told_which_to_ask_for(
    cluster: FakeCluster, put_run: Any, verb: str, command: tuple[str, ...], role: str
) -> None:
    put_run(status=sample.status(phase="Failed"))
    action = {"get": "fetch"}.get(verb, verb)
    cluster.api.refusals[action, "hardeningruns"] = [rbac_refusal(verb, "hardeningruns")]
    shown = kubectl_hardening(*command)
    assert shown.exit_code == 2
    expected = f"cannot {verb} hardeningruns in namespace safety as bob: ask for the chart's ClusterRole ...-{role}\n"
    assert shown.stderr == expected


def test_pods_and_their_logs_come_with_the_clusters_own_role(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    cluster.api.refusals["list", "pods"] = [rbac_refusal("list", "pods")]
    shown = kubectl_hardening("logs", "small")
    assert shown.stderr == "cannot list pods in namespace safety as bob: ask for the ClusterRole view\n"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"kind": "Status", "message": "Unauthorized"}, "the cluster does not know you (401 Unauthorized)"),
        (404, "404 page not found\n", "the cluster does not serve hardeningruns: install the chart"),
        (404, {"kind": "Status", "message": "not found"}, "no HardeningRun small in namespace safety"),
        (503, {"kind": "Status", "message": "starting"}, "the cluster answers 503: starting"),
        (500, "boom", "the cluster answers 500: boom"),
        (400, {"kind": "Status", "message": "bad"}, "cannot get hardeningruns small in namespace safety: bad"),
    ],
)
def test_each_refusal_is_said_in_words(cluster: FakeCluster, status: int, body: Any, words: str) -> None:
    cluster.api.refusals["fetch", "hardeningruns"] = [(status, body)]
    shown = kubectl_hardening("status", "small")
    assert shown.exit_code == 2
    assert shown.stderr.startswith(words)
    assert shown.stderr.count("\n") == 1
    assert shown.stdout == ""


def test_a_cluster_that_is_not_there_is_named(cluster: FakeCluster, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
        config["clusters"][0]["cluster"]["server"] = address
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        shown = kubectl_hardening("status", "small")
    assert (shown.exit_code, shown.stderr) == (
        2,
        f"cannot reach the cluster of context test at {address}: connection refused: is it up and the right one?\n",
    )


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("https://127.0.0.1:{port}", "wrong version number"),
        ("http://no-such-host.invalid:{port}", "name"),  # the rest differs from one resolver to another
    ],
)
def test_why_a_connection_breaks_is_said_on_one_line(
    cluster: FakeCluster, tmp_path: Path, server: str, words: str
) -> None:
    path = tmp_path / "kubeconfig"
    config = yaml.safe_load(path.read_text())
    config["clusters"][0]["cluster"]["server"] = server.format(port=cluster.port)
    path.write_text(yaml.safe_dump(config))
    shown = kubectl_hardening("status", "small")
    assert shown.exit_code == 2
    assert shown.stderr.startswith("cannot reach the cluster of context test at http")
    assert words in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_options_are_repeated_in_the_next_command(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.put(RUNS, run_document(status=sample.status()))
    file = str(tmp_path / "kubeconfig")
    shown = kubectl_hardening("status", "small", "--context", "test", "--kubeconfig", file).stdout
    assert f" kubectl hardening watch small -n safety --context test --kubeconfig {file}" in shown.splitlines()
