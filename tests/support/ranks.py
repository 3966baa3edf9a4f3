"""The processes of a training, forked from one that has imported torch, TRL and DeepSpeed already."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["hardening_trainer.dpo.worker", "hardening_trainer.dpo.training", "deepspeed"])


def run_ranks(folder: Path, world: int) -> list[int | None]:
    """Run the worker on exchange folder `folder` as `world` ranks, as torchrun would, and return the exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [_CONTEXT.Process(target=_rank, args=(folder, rank, world, port)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _rank(folder: Path, rank: int, world: int, port: int) -> None:
    import torch

    from hardening_trainer.dpo.worker import main

    torch.set_num_threads(1)
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    os.environ.update({name: str(value) for name, value in where.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1")
    raise SystemExit(main(folder))
