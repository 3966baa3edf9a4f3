"""A training in processes of its own: started by torchrun, watched, stopped gently, and never left behind.

    launch  ->  python -m hardening_trainer.dpo.launch: torchrun  ->  python -m hardening_trainer.dpo.worker, each rank

On one node torchrun finds its own port. On several, each node's stage process starts its node's share and they meet
at `$MASTER_ADDR:$MASTER_PORT`, as node `$HARDENING_NODE_RANK`.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hardening_api.training import Training
from hardening_trainer.dpo.job import DpoJob, Exchange, Outcome, Report, StopRequested
from hardening_trainer.errors import StageError, UsageFault

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
DEFAULT_PORT = "29500"
_PR_SET_PDEATHSIG = 1


def needs_processes(training: Training) -> bool:
    """Whether torchrun starts this training; plain PyTorch in one process runs where it is."""
    return training.engine == "DeepSpeed" or training.nodes * training.processes > 1


def launch(job: DpoJob, folder: Path, report: Report, stop: StopRequested, environ: Mapping[str, str]) -> Outcome:
    """Run `job` in its processes and return what they left; `folder`, new, is where they and we meet.

    Raises the StageError the processes ended with: its reason and exit code are theirs.
    """
    exchange = Exchange(folder)
    command = [sys.executable, "-m", "hardening_trainer.dpo.launch", *rendezvous(job.training, environ)]
    command += ["-m", "hardening_trainer.dpo.worker", str(folder)]
    exchange.give_job(job)
    # A session of its own: Ctrl-C in a terminal reaches the stage alone, which has the training save first.
    process = subprocess.Popen(command, env=worker_environ(job.training, environ), start_new_session=True)  # noqa: S603
    try:
        while _runs(process):
            exchange.pass_on(report)
            if stop():
                exchange.ask_to_stop()
        exchange.pass_on(report)
    finally:
        _end(process)
    return _result(exchange, process.returncode)


def rendezvous(training: Training, environ: Mapping[str, str]) -> list[str]:
    """torchrun's arguments. Raises UsageFault if one of several nodes has no address to meet at."""
    processes = f"--nproc-per-node={training.processes}"
    if training.nodes == 1:
        return ["--standalone", processes]
    missing = [name for name in ("MASTER_ADDR", "HARDENING_NODE_RANK") if not environ.get(name)]
    if missing:
        raise UsageFault(
            f"environment: {', '.join(missing)}: got nothing: spec.training.nodes is {training.nodes}, "
            "so every node needs the first one's address and its own number"
        )
    return [
        f"--nnodes={training.nodes}",
        f"--node-rank={environ['HARDENING_NODE_RANK']}",
        f"--master-addr={environ['MASTER_ADDR']}",
        f"--master-port={environ.get('MASTER_PORT', DEFAULT_PORT)}",
        processes,
    ]


def worker_environ(training: Training, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of the processes: the stage's own, its cores shared out, GPUs hidden from a training on CPU.

    `OMP_NUM_THREADS`, where it is given, counts for each process: whoever starts the stage has shared out its cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // training.processes)
    given = {"OMP_NUM_THREADS": str(threads), **environ}
    if training.gpus_per_node == 0:
        given |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    return given


def _runs(process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(POLL_SECONDS)
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process's session; the training processes end with torchrun."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _result(exchange: Exchange, code: int) -> Outcome:
    failure = exchange.failure()
    if failure is not None:
        error = StageError(failure.message, failure.reason)
        error.exit_code = failure.exit_code
        raise error
    outcome = exchange.outcome()
    if code == 0 and outcome is not None:
        return outcome
    raise StageError(
        f"training: its processes ended with {code} and no error: they were killed, perhaps for lack of memory: "
        "see the log, or try a lower batchSize or maxLength",
        reason="TrainingProcessDied",
    )


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it ends (Linux; elsewhere nothing is done).

    A killed stage must not leave a training that still writes checkpoints while the next attempt reads them.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _torchrun(arguments: list[str]) -> None:
    """Run torchrun in this process, which ends with the stage that started it."""
    die_with_parent()
    from torch.distributed.run import main  # noqa: PLC0415  # seconds, which a stage need not spend

    main(arguments)


if __name__ == "__main__":
    _torchrun(sys.argv[1:])
