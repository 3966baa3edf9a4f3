"""The local shell of a monitor: checks as local processes, runs found in a folder, all that is known in one file.

```
<home>/monitor.json                          the monitor as the resource has it: spec and status with the history
<home>/lock                                  held while somebody works on it
<home>/checks/<check>/a1/shard-0/            stage.json, result.json, process.json, exit.json, log
<home>/reruns/<name>.yaml                    HardeningRuns to run
<runs>/<name>/                               the runs it goes by: folders of `hardening run`
```
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from hardening_api.monitor import HardeningMonitor, HardeningMonitorStatus
from hardening_api.run import HardeningRun
from hardening_operator.local.home import Home, HomeError, read_json, write_json
from hardening_operator.local.observe import observe_attempt
from hardening_operator.local.processes import Processes
from hardening_operator.planner.check_config import check_config
from hardening_operator.planner.monitor import plan_monitor
from hardening_operator.planner.monitor_types import (
    CheckObservation,
    CheckStart,
    MonitorDecision,
    MonitorObserved,
    RerunStart,
)
from hardening_operator.planner.rerun import build_rerun
from hardening_operator.planner.types import Event, Failure, StageKey

KEY = StageKey(0, "Evaluate")
POLL_SECONDS, LONGEST_SLEEP = 0.2, 5.0


class Interrupted(Exception):
    """Somebody asked to stop; a running check has saved, and resumes with the same command."""


@dataclass(frozen=True)
class MonitorHome:
    """The folder of one local monitor."""

    folder: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the monitor. Raises HomeError when somebody else holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = f"{self.folder}: another `hardening monitor` works on it: wait for it or end it"
                raise HomeError(text) from None
            yield

    def load_status(self) -> HardeningMonitorStatus:
        """Return the recorded status, or an empty one."""
        document = read_json(self.folder / "monitor.json") or {}
        return HardeningMonitorStatus.model_validate(document.get("status") or {})

    def save(self, monitor: HardeningMonitor, status: HardeningMonitorStatus) -> None:
        """Replace the record, atomically."""
        write_json(self.folder / "monitor.json", monitor.model_copy(update={"status": status}).to_document())

    def attempts(self, name: str) -> list[Path]:
        """Return the folders of a check's attempts, the oldest first."""
        return sorted((self.folder / "checks" / name).glob("a*"), key=lambda path: int(path.name[1:]))

    def checks(self) -> list[str]:
        """Return the names of all checks that were started."""
        return sorted(path.name for path in (self.folder / "checks").glob("*"))

    def rerun(self, name: str) -> Path:
        """Return the manifest of a rerun."""
        return self.folder / "reruns" / f"{name}.yaml"


class MonitorShell:
    """Drives one monitor in one folder."""

    def __init__(
        self,
        home: MonitorHome,
        monitor: HardeningMonitor,
        runs: Path,
        processes: Processes,
        tell: Callable[[Event], None],
        workspace: str | None = None,
    ) -> None:
        """Take ``workspace``, the URL of the run's workspace where it is not the run's folder under ``runs``."""
        self._home, self._monitor, self._runs = home, monitor, runs.resolve()
        self._processes, self._tell, self._workspace = processes, tell, workspace

    def drive(
        self,
        once: bool,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        stop: Callable[[], bool],
    ) -> HardeningMonitorStatus:
        """Check once, now, and return the status; or check at every time of the schedule, until Interrupted."""
        status = self._home.load_status()
        asked = clock() if once and status.active is None else None
        while True:
            if stop():
                self._save_running(status, clock, sleep)
                raise Interrupted
            decision = plan_monitor(self._monitor, status, self._observe(status, clock(), asked), clock())
            status = self._apply(decision, status, clock())
            if once and status.active is None:
                return status
            sleep(POLL_SECONDS if status.active is not None else self._rest(decision, clock()))

    def _rest(self, decision: MonitorDecision, now: datetime) -> float:
        if decision.wake_at is None:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(POLL_SECONDS, (decision.wake_at - now).total_seconds()))

    def _observe(self, status: HardeningMonitorStatus, now: datetime, asked: datetime | None) -> MonitorObserved:
        seen = {name: check for name in self._home.checks() if (check := self._observe_check(name, now)) is not None}
        names = [self._monitor.spec.run, *(record.name for record in status.reruns)]
        runs = {name: run for name in names if name is not None and (run := self._run(name)) is not None}
        return MonitorObserved(seen, runs, asked, generation=1)

    def _observe_check(self, name: str, now: datetime) -> CheckObservation | None:
        attempts = self._home.attempts(name)
        if not attempts:
            return None
        number = int(attempts[-1].name[1:])
        seen = observe_attempt(KEY, number, [attempts[-1] / "shard-0"], self._processes, now)
        if seen.state == "Stopped":
            failure = Failure(None, "Interrupted", "the check was asked to stop", disruption=True)
            return CheckObservation(name, "Failed", number, seen.ended_at, (), failure)
        return CheckObservation(name, seen.state, number, seen.ended_at, seen.results, seen.failure)

    def _run(self, name: str) -> HardeningRun | None:
        """Return a run with its status; a rerun that nobody has started yet is Pending."""
        home = Home(self._runs / name)
        if (home.folder / "run.json").exists():
            return home.load_run().model_copy(update={"status": home.load_status()})
        manifest = self._home.rerun(name)
        return HardeningRun.model_validate(yaml.safe_load(manifest.read_text())) if manifest.exists() else None

    def _apply(
        self, decision: MonitorDecision, before: HardeningMonitorStatus, now: datetime
    ) -> HardeningMonitorStatus:
        if decision.status != before or not (self._home.folder / "monitor.json").exists():
            self._home.save(self._monitor, decision.status)
        for name in decision.stop:
            self._stop(name)
        if decision.start is not None:
            self._start(decision.start, now)
        if decision.rerun is not None:
            self._create(decision.rerun)
        for event in decision.events:
            self._tell(event)
        return decision.status

    def _start(self, start: CheckStart, now: datetime) -> None:
        folder = self._home.folder / "checks" / start.check.name / f"a{start.check.attempt}" / "shard-0"
        if (folder / "process.json").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        config = check_config(self._monitor, start.check, start.run, self._url(start.run))
        cores = self._processes.cores()
        if cores.shortage is not None:
            self._tell(Event("Warning", "CoresBusy", cores.shortage))
        self._processes.start(folder, config, cores.threads(1), now)

    def _url(self, run: HardeningRun | None) -> str:
        if run is None:
            return self._workspace or f"file://{self._home.folder.resolve()}"
        return self._workspace or f"file://{self._runs / run.metadata.name}"

    def _stop(self, name: str) -> None:
        attempt = self._home.attempts(name)[-1]
        if not (attempt / "stop.json").exists():
            write_json(attempt / "stop.json", {"reason": "asked"})
            self._processes.terminate(attempt / "shard-0")

    def _save_running(
        self, status: HardeningMonitorStatus, clock: Callable[[], datetime], sleep: Callable[[float], None]
    ) -> None:
        """Ask the running check to save and leave, and wait for it."""
        name = status.active.name if status.active is not None else None
        if name is None or not self._home.attempts(name):
            return
        self._stop(name)
        while (seen := self._observe_check(name, clock())) is not None and seen.state == "Running":
            sleep(POLL_SECONDS)

    def _create(self, start: RerunStart) -> None:
        manifest = self._home.rerun(start.rerun.name)
        document = build_rerun(start, self._monitor.metadata.name, self._url(start.source), None)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))


def known_runs(runs: Path) -> Mapping[str, Path]:
    """Return the folders of runs in ``runs``, by name."""
    return {path.parent.name: path.parent for path in sorted(runs.glob("*/run.json"))}
