"""kubectl and helm, as a user would call them, on one kubeconfig and no other."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class CommandError(AssertionError):
    """A command ended badly; `said` is what it wrote to standard error."""

    def __init__(self, argv: Sequence[str], said: str) -> None:
        super().__init__(f"$ {' '.join(argv)}\n{said}")
        self.said = said


def _run(argv: Sequence[str], seconds: float, given: str | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=seconds, env=env, check=False)
    if done.returncode:
        raise CommandError(argv, done.stderr.strip() or done.stdout.strip())
    return done.stdout


def _documents(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """The JSON documents that a command writes one after the other."""
    lines: list[str] = []
    for line in process.stdout or ():
        lines.append(line)
        if line == "}\n":
            yield json.loads("".join(lines))
            lines.clear()


@dataclass(frozen=True)
class Kubectl:
    """kubectl on one kubeconfig, in one namespace."""

    program: str
    kubeconfig: Path
    namespace: str = "default"

    def within(self, namespace: str) -> Kubectl:
        """The same in another namespace."""
        return Kubectl(self.program, self.kubeconfig, namespace)

    def argv(self, *arguments: str) -> list[str]:
        """The full command line, for a process of the test's own."""
        return [self.program, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]

    def __call__(self, *arguments: str, given: str | None = None, seconds: float = 120) -> str:
        """Run and return standard output. Raises CommandError."""
        return _run(self.argv(*arguments), seconds, given)

    def apply(self, *documents: dict[str, Any]) -> None:
        """Apply the documents together."""
        self("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object. Raises CommandError when it is not there."""
        document: dict[str, Any] = json.loads(self("get", kind, name, "--output=json"))
        return document

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, or those with matching labels."""
        listed = json.loads(self("get", kind, f"--selector={selector}", "--output=json"))
        return list(listed["items"])

    def wait(self, target: str, state: str, seconds: int = 60) -> None:
        """Until a condition is true; or `create`, `delete`; or `jsonpath={...}=value`. CommandError when late."""
        wanted = state if state in ("create", "delete") or state.startswith("jsonpath=") else f"condition={state}"
        self("wait", target, f"--for={wanted}", f"--timeout={seconds}s", seconds=seconds + 30)

    def watch(
        self, target: str, wanted: Callable[[dict[str, Any]], bool], what: str, seconds: float = 60
    ) -> dict[str, Any]:
        """Follow one object (KIND/NAME) until `wanted` holds for it, and return it. Fails naming `what` when late."""
        end = time.monotonic() + seconds
        said = ""
        while (left := end - time.monotonic()) > 0:  # a stream ends with the API server it comes from
            argv = ["timeout", f"{left:.1f}", *self.argv("get", target, "--watch", "--output=json")]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                for document in _documents(process):
                    if wanted(document):
                        process.terminate()
                        return document
                said = process.stderr.read() if process.stderr else ""
            if "(NotFound)" in said:
                raise AssertionError(f"{target}: {what}: {said}")
        raise AssertionError(f"{target}: {what}: not within {seconds} s {said}")

    def can_i(self, verb: str, resource: str, user: str) -> bool:
        """`kubectl auth can-i VERB RESOURCE --as=USER`; a service account is `system:serviceaccount:NAMESPACE:NAME`.

        RESOURCE may be of a resource's part, such as `pods/exec`.
        """
        kind, _, part = resource.partition("/")  # kubectl would take what is behind a / for an object's name
        argv = self.argv("auth", "can-i", verb, kind, f"--subresource={part}", f"--as={user}")
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        answer = done.stdout.strip().splitlines()
        if not answer or answer[-1] not in ("yes", "no"):
            raise CommandError(["kubectl", "auth", "can-i", verb, resource], done.stderr)
        return answer[-1] == "yes"


@dataclass(frozen=True)
class Helm:
    """helm on one kubeconfig."""

    program: str
    kubeconfig: Path

    def __call__(self, *arguments: str, seconds: float = 300) -> str:
        """Run and return standard output. Raises CommandError."""
        return _run([self.program, f"--kubeconfig={self.kubeconfig}", *arguments], seconds)
