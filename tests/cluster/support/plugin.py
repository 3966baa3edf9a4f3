"""`kubectl hardening`, as kubectl finds it in PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.support.clients import Kubectl

SCRIPTS = Path(sys.executable).parent
"""Where `hardening` and `kubectl-hardening` are installed."""


@dataclass(frozen=True)
class Said:
    """What a command wrote, and its exit code."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Plugin:
    """The plugin on one kubeconfig, in one namespace."""

    kubectl: Kubectl

    def __call__(self, *arguments: str, seconds: float = 60) -> Said:
        """Run `kubectl hardening ARGUMENTS` to its end."""
        argv = [self.kubectl.program, "hardening", *arguments, *self._where]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, env=self._environment, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `hardening ARGUMENTS`, which goes on by itself."""
        argv = [str(SCRIPTS / "hardening"), *arguments, *self._where]
        return subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment
        )

    @property
    def _where(self) -> list[str]:
        return ["--kubeconfig", str(self.kubectl.kubeconfig), "--namespace", self.kubectl.namespace]

    @property
    def _environment(self) -> dict[str, str]:
        known = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        return known | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "COLUMNS": "160"}
