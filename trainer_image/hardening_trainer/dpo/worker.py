"""`python -m hardening_trainer.dpo.worker FOLDER`: one process of a training, started by torchrun."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from hardening_api.stages import ExitCode
from hardening_trainer.compat.deepspeed import leave_out_the_communication_kernel
from hardening_trainer.dpo.job import Exchange, ExchangeReport, SilentReport, TrainingFailure
from hardening_trainer.dpo.launch import die_with_parent
from hardening_trainer.errors import as_stage_error
from hardening_trainer.runtime.logs import set_up_logging

log = logging.getLogger("hardening_trainer.dpo")


def main(folder: Path) -> int:
    """Train what `folder` asks for and return the exit code."""
    die_with_parent()
    set_up_logging()
    exchange = Exchange(folder)
    rank, first = int(os.environ["RANK"]), os.environ["LOCAL_RANK"] == "0"
    try:
        from hardening_trainer.dpo.training import train  # noqa: PLC0415  # a broken install fails in words too

        job = exchange.job()
        if job.training.engine == "DeepSpeed":
            leave_out_the_communication_kernel()
        outcome = train(job, ExchangeReport(exchange) if first else SilentReport(), exchange.stop_asked)
        if first:
            exchange.leave_outcome(outcome)
        return ExitCode.OK
    except Exception as error:
        known = as_stage_error(error)
        log.error("%s: %s", known.reason, known.message)
        failure = TrainingFailure(exit_code=known.exit_code, reason=known.reason, message=known.message)
        exchange.leave_failure(rank, failure)
        return known.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
