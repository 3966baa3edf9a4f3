"""The local runner: observe, plan, apply, again and again, until the run rests."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from hardening_api.run import HardeningRun
from hardening_api.status import TERMINAL_PHASES, HardeningRunStatus
from hardening_operator.local.cores import Cores
from hardening_operator.local.home import Home, write_json
from hardening_operator.local.observe import observe
from hardening_operator.local.processes import Processes
from hardening_operator.planner.run import plan
from hardening_operator.planner.stage_configs import run_identity, stage_configs
from hardening_operator.planner.types import Decision, Event, Observed, StageKey, StageStart

POLL_SECONDS = 0.2
RESTING_PHASES = TERMINAL_PHASES | {"AwaitingApproval", "Suspended"}


class View(Protocol):
    """Who watches the run."""

    def update(self, status: HardeningRunStatus, observed: Observed) -> None:
        """See the run as it is now."""

    def event(self, event: Event) -> None:
        """Hear what happened."""


class Stopped(Exception):
    """The run was asked to stop; the stages saved, and the same command resumes."""


class Runner:
    """Drives one run in one folder."""

    def __init__(self, home: Home, run: HardeningRun, workspace: str, processes: Processes, view: View) -> None:
        self._home, self._run, self._workspace = home, run, workspace
        self._processes, self._view = processes, view
        self._identity = run_identity(run)

    def drive(
        self, clock: Callable[[], datetime], sleep: Callable[[float], None], stop: Callable[[], bool]
    ) -> HardeningRunStatus:
        """Drive the run until it rests, and return its status. Raises Stopped when ``stop`` says so."""
        status = self._home.load_status()
        while True:
            if stop():
                self._save_all(clock, sleep)
                raise Stopped
            observed = observe(self._home, self._processes, clock())
            decision = plan(self._run.spec, status, observed, clock())
            status = self._apply(decision, status, observed, clock())
            if status.phase in RESTING_PHASES and not decision.start and not self._running(observed):
                return status
            sleep(POLL_SECONDS)

    def _apply(
        self, decision: Decision, before: HardeningRunStatus, observed: Observed, now: datetime
    ) -> HardeningRunStatus:
        if decision.status != before:
            self._home.save_status(decision.status)
        for key in decision.stop:
            self._stop_stage(key.key, observed)
        if decision.start:
            self._start_stages(decision, now)
        for event in decision.events:
            self._view.event(event)
        self._view.update(decision.status, observed)
        return decision.status

    def _start_stages(self, decision: Decision, now: datetime) -> None:
        cores = self._processes.cores()  # read once: the first stage that starts would look like other work
        if cores.shortage is not None:
            self._view.event(Event("Warning", "CoresBusy", cores.shortage))
        for start in decision.start:
            self._start_stage(start, cores, len(decision.start), decision.status, now)

    def _start_stage(
        self, start: StageStart, cores: Cores, together: int, status: HardeningRunStatus, now: datetime
    ) -> None:
        configs = stage_configs(self._run.spec, self._identity, status, start.key, self._workspace)
        threads = cores.threads(len(configs) * together)
        attempt = self._home.stage(start.key) / f"a{start.attempt}"
        for config in configs:
            folder = attempt / f"shard-{config.shard.index}"
            if (folder / "process.json").exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            self._processes.start(folder, config, threads, now)

    def _stop_stage(self, key: StageKey, observed: Observed) -> None:
        attempt = observed.stages[key].attempt
        shards = self._home.shards(key, attempt)
        if shards and not (shards[0].parent / "stop.json").exists():
            write_json(shards[0].parent / "stop.json", {"reason": "asked by the planner"})
            for shard in shards:
                self._processes.terminate(shard)

    def _save_all(self, clock: Callable[[], datetime], sleep: Callable[[float], None]) -> None:
        """Ask every running stage to save and leave, and wait for it: a checkpoint may take its time."""
        running = self._running(observe(self._home, self._processes, clock()))
        for key, attempt in running:
            shards = self._home.shards(key, attempt)
            write_json(shards[0].parent / "stop.json", {"reason": "asked by the user"})
            for shard in shards:
                self._processes.terminate(shard, signal.SIGTERM)
        while self._running(observe(self._home, self._processes, clock())):
            sleep(POLL_SECONDS)

    @staticmethod
    def _running(observed: Observed) -> list[tuple[StageKey, int]]:
        return [(key, stage.attempt) for key, stage in observed.stages.items() if stage.state == "Running"]
