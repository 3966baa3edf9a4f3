"""What the cluster's benchmarks share: the operator from its chart, the audit log's requests, figures of its process.

The audit log of the cluster's API server records who asked for what.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.conftest import CHART, RELEASE, SYSTEM, image_values
from tests.cluster.support.clients import Helm, Kubectl
from tools.cluster import cluster as bringup
from tools.cluster import images
from tools.cluster.settings import KUBERNETES_VERSION, Settings, from_environment
from tools.cluster.tools import build

RESULTS = Path(__file__).parent / "results"
OPERATOR = "app.kubernetes.io/name=hardening-operator"
WRITES = ("create", "update", "patch", "delete", "deletecollection")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def running_cluster() -> Settings:
    """The settings of the cluster; ends the program when it is down."""
    settings = from_environment()
    if not bringup.is_up(settings):
        raise SystemExit("the cluster is down: `make cluster-up` starts it")
    return settings


def kubectl_of(settings: Settings) -> Kubectl:
    """Return kubectl as administrator."""
    return Kubectl(str(settings.cache / "bin" / "kubectl"), settings.kubeconfig)


@contextmanager
def namespace(admin: Kubectl, words: str) -> Iterator[Kubectl]:
    """A new namespace that enforces Pod Security "restricted"; gone, with all that is in it, at the end."""
    name = f"{words}-{secrets.token_hex(3)}"
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    try:
        admin.within(name).wait("serviceaccount/default", "create")
        yield admin.within(name)
    finally:
        admin("delete", "namespace", name, "--timeout=900s", seconds=930)


@contextmanager
def installed(settings: Settings, admin: Kubectl, trainer_image: str) -> Iterator[str]:
    """The operator as its chart installs it, with the chart's defaults; yields who it is to the API server."""
    helm = Helm(str(build(settings, ["helm"])["helm"]), settings.kubeconfig)
    image = images.build(settings, "operator")
    images.load(settings, image)
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": RESTRICTED}})
    values = [*image_values({"operator": image, "trainer": trainer_image}), f"--namespace={SYSTEM}"]
    try:
        helm("upgrade", "--install", RELEASE, CHART, *values, "--wait", "--timeout=180s")
        [deployment] = admin.within(SYSTEM).items("deployments", OPERATOR)
        account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        yield f"system:serviceaccount:{SYSTEM}:{account}"
    finally:
        helm("uninstall", RELEASE, f"--namespace={SYSTEM}", "--wait", "--ignore-not-found")
        admin("delete", "namespace", SYSTEM, "--timeout=120s", seconds=150)


@dataclass(frozen=True)
class Request:
    """A request that the API server has answered."""

    time: float
    """When it came, in seconds since the epoch."""
    verb: str
    resource: str
    """With its subresource: `hardeningruns/status`."""
    namespace: str
    name: str
    code: int

    @property
    def writes(self) -> bool:
        """Whether it asked for a change; the Lease, which belongs to no stage, is left out."""
        return self.verb in WRITES and self.resource != "leases"


class AuditLog:
    """The requests of one user, from the moment this is made."""

    def __init__(self, path: Path, user: str) -> None:
        self._path, self._user = path, user
        found = path.stat()
        self._file, self._offset = found.st_ino, found.st_size

    def requests(self) -> list[Request]:
        """Return what was asked since, in order."""
        wanted = f'"username":"{self._user}"'
        lines = (line for line in self._lines() if wanted in line)
        events = (json.loads(line) for line in lines)
        return [_request(event) for event in events if event["stage"] == "ResponseComplete"]

    def _lines(self) -> Iterator[str]:
        """Yield the lines written since; a log that has grown too long meanwhile was started again."""
        files = sorted(self._path.parent.glob(f"{self._path.stem}*"), key=lambda path: path.stat().st_mtime)
        inodes = [path.stat().st_ino for path in files]
        if self._file not in inodes:
            raise SystemExit(f"{self._path.name} was rotated more than once: raise --audit-log-maxsize")
        for path in files[inodes.index(self._file) :]:
            with path.open(encoding="utf-8") as lines:
                lines.seek(self._offset if path.stat().st_ino == self._file else 0)
                yield from lines


def _request(event: Mapping[str, Any]) -> Request:
    target = event.get("objectRef") or {}
    parts = [part for part in (target.get("resource", ""), target.get("subresource")) if part]
    return Request(
        time=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        verb=event["verb"],
        resource="/".join(parts),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event["responseStatus"]["code"],
    )


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by metric name and sorted labels."""


def scraped(address: str, port: int) -> Samples:
    """Return the metrics served there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def total(samples: Samples, name: str) -> float:
    """Return the sum of a metric over its labels."""
    return sum(value for (metric, _), value in samples.items() if metric == name)


def quantile(before: Samples, after: Samples, name: str, share: float) -> tuple[float, float]:
    """Return between which bounds of a histogram's buckets a quantile lies of what was observed in between."""
    counts: dict[float, float] = {}
    for sign, samples in ((-1, before), (1, after)):
        for (metric, labels), value in samples.items():
            if metric == f"{name}_bucket":
                bound = float(dict(labels)["le"])
                counts[bound] = counts.get(bound, 0.0) + sign * value
    lower = 0.0
    for bound in sorted(counts):
        if counts[bound] >= share * counts[float("inf")]:
            return lower, bound
        lower = bound
    return 0.0, 0.0


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "memory_gib": round(kib / 2**20, 1),
        "load": round(os.getloadavg()[0], 1),
        "kubernetes": KUBERNETES_VERSION,
        "python": platform.python_version(),
    }


def table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows, the first of them a heading, in columns."""
    texts = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for first, *others in texts:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        print("  ".join(cells))


@dataclass(frozen=True)
class Goal:
    """A figure, what it should be at most, and so whether it is."""

    name: str
    figure: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the figure is within its limit."""
        return self.figure <= self.limit


def write(name: str, result: Mapping[str, Any], goals: Sequence[Goal]) -> None:
    """Print which goals are met, and write everything as JSON."""
    print()
    table(
        [("goal", "figure", "at most", "met"), *((g.name, g.figure, g.limit, "yes" if g.met else "NO") for g in goals)]
    )
    told = {goal.name: {"figure": goal.figure, "at_most": goal.limit, "met": goal.met} for goal in goals}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "goals": told, **result}, indent=2) + "\n")
