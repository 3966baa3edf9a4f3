"""Persistent volumes: answers each claim with a folder on the node, and removes the folder when its volume is released.

Two storage classes. `standard` (the default) gives a folder; `sized` gives a file system of exactly the size asked for,
in memory, so that a test can fill it. Both bind ReadWriteOnce and ReadWriteMany. The folder belongs to root, as on a
real disk: a pod that is not root needs an fsGroup.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.utils import quantity

from tools.cluster.addons import PROVISIONER, SIZED


def main(arguments: list[str]) -> None:
    """Serve claims until ended. Arguments: the kubeconfig, the folder for volumes, the node's name."""
    kubeconfig, folder, node = arguments
    load: Any = config.load_kube_config
    load(config_file=kubeconfig)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    threading.Thread(target=_follow_volumes, args=(client.CoreV1Api(), root), daemon=True).start()
    _follow_claims(client.CoreV1Api(), root, node)


def volume_for(claim: dict[str, Any], root: Path, node: str) -> dict[str, Any] | None:
    """The PersistentVolume that answers this claim; None when the claim is bound, or not for us."""
    metadata, spec = claim["metadata"], claim["spec"]
    asked = metadata.get("annotations", {}).get("volume.kubernetes.io/storage-provisioner")
    if asked != PROVISIONER or spec.get("volumeName"):
        return None
    name = f"pvc-{metadata['uid']}"
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "local": {"path": str(root / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }


def _follow_claims(api: Any, root: Path, node: str) -> None:
    parse: Any = quantity.parse_quantity
    cleaner: Any = client.ApiClient()
    for event in _events(api.list_persistent_volume_claim_for_all_namespaces):
        volume = volume_for(cleaner.sanitize_for_serialization(event["object"]), root, node)
        if event["type"] == "DELETED" or volume is None:
            continue
        path = Path(volume["spec"]["local"]["path"])
        path.mkdir(mode=0o755, exist_ok=True)
        if volume["spec"]["storageClassName"] == SIZED and not path.is_mount():
            size = int(parse(volume["spec"]["capacity"]["storage"]))
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(path)], check=True)
        _unless(409, api.create_persistent_volume, volume)


def _follow_volumes(api: Any, root: Path) -> None:
    for event in _events(api.list_persistent_volume):
        volume = event["object"]
        ours = (volume.metadata.annotations or {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER
        if event["type"] == "DELETED" or not ours or volume.status.phase != "Released":
            continue
        path = root / volume.metadata.name
        if path.is_mount():
            subprocess.run(["umount", "--lazy", str(path)], check=True)
        subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)
        _unless(404, api.delete_persistent_volume, volume.metadata.name)


def _events(listing: Any) -> Any:
    """Every event without end; starts again when the API server does."""
    pause = threading.Event()
    watcher: Any = watch
    while True:
        try:
            yield from watcher.Watch().stream(listing)
        except Exception as error:  # the API server restarts in some tests
            print(f"watch ended: {error}", flush=True)
        pause.wait(1)


def _unless(status: int, call: Any, argument: Any) -> None:
    try:
        call(argument)
    except ApiException as error:
        if error.status != status:
            raise


if __name__ == "__main__":
    main(sys.argv[1:])
