"""What a user had before a run came is the user's still, after the run has been created, has run, and is deleted."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.conftest import Release
from tests.cluster.support.clients import Kubectl
from tests.cluster.support.pods import claim, mounted, python_pod
from tests.cluster.support.runs import condition, finished, reasons, tiny_run

WRITE = "import pathlib; pathlib.Path('/data/thesis').write_text('three years of work')"
READ = "import pathlib; print(pathlib.Path('/data/thesis').read_text())"


def waits_for_a_name(run: dict[str, Any]) -> bool:
    conditions = run.get("status", {}).get("conditions", [])
    return any((each["type"], each["reason"]) == ("Progressing", "NameTaken") for each in conditions)


def identity(space: Kubectl, kind: str, name: str) -> tuple[str, Any, Any]:
    """What a run must not touch of an object: uid, owners and labels."""
    metadata = space.get(kind, name)["metadata"]
    return metadata["uid"], metadata.get("ownerReferences"), metadata.get("labels")


def test_a_user_s_config_map_and_claim_in_a_run_s_way_survive_the_run(
    space: Kubectl, operator: Release, python_image: str
) -> None:
    config, volume = "thief-r0-evaluate", "thief-workspace"
    notes = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": config}, "data": {"notes": "mine"}}
    # As large as the run would ask for, so that nothing but whose it is tells it apart.
    space.apply(notes, claim(volume, size="1Gi", mode="ReadWriteMany"))
    space.apply(python_pod("writer", python_image, WRITE, **mounted(volume)))
    space.wait("pod/writer", "jsonpath={.status.phase}=Succeeded", 120)
    before = [identity(space, kind, name) for kind, name in (("configmap", config), ("pvc", volume))]

    space.apply(tiny_run("thief"))
    run = space.watch("hrun/thief", waits_for_a_name, "says that a name is taken", 60)
    assert run["status"]["phase"] == "Running"
    assert "was left as it is" in condition(run, "Progressing")["message"]
    assert "StageWaiting" in reasons(space, "thief")
    space("delete", "hrun/thief", "--wait=true")

    assert [identity(space, kind, name) for kind, name in (("configmap", config), ("pvc", volume))] == before
    assert space.get("configmap", config)["data"] == {"notes": "mine"}
    space.apply(python_pod("reader", python_image, READ, **mounted(volume)))
    space.wait("pod/reader", "jsonpath={.status.phase}=Succeeded", 120)
    assert space("logs", "pod/reader").strip() == "three years of work"


def test_a_run_starts_by_itself_once_the_name_is_free(space: Kubectl, operator: Release) -> None:
    name = "patient-r0-evaluate"
    for document in (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"notes": "mine"}},
        tiny_run("patient"),
    ):
        space("create", "-f", "-", given=json.dumps(document))
    space.watch("hrun/patient", waits_for_a_name, "says that a name is taken", 60)
    space("delete", "configmap", name)
    run = finished(space, "patient")
    assert run["status"]["phase"] == "Promoted", condition(run, "Failed")["message"]
