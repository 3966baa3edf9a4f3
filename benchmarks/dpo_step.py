"""One optimizer step of DPO: ours against stock TRL with the reference model in memory. Time and peak memory.

    python -m benchmarks.dpo_step --model FOLDER --pairs FILE.jsonl --rows 24

Both train the same pairs in the same order, dtype and batches, without activation checkpointing, and must report the
same losses, or the run fails. Each arm runs in a process of its own (peak memory is that process's), in turns; a
step's time is the median over the steps after the first. With LoRA, stock TRL keeps no second model: it switches the
adapters off for the reference pass. Ours reads the reference's log-probabilities from the Score stage, which needs
them anyway; what they cost is in `reference_seconds_per_pair`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import AutoConfig, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.dpo_trainer import DPOTrainer

from benchmarks.harness import arguments, ratios, read_rows, report
from hardening_api.training import Training
from hardening_trainer.dpo.arguments import dpo_arguments, find_device, weights_dtype
from hardening_trainer.dpo.job import DpoJob
from hardening_trainer.dpo.pairs import read_pairs, tokenize
from hardening_trainer.dpo.trainer import CachedReferenceTrainer
from hardening_trainer.dpo.weights import lora_config
from hardening_trainer.inference.chat import encode_pair
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.models import load_causal_lm, load_tokenizer

METHODS = ("Full", "LoRA")
TIME_GOAL = 1.3
MEMORY_GOAL = 0.7
TOLERANCE = 1e-3
"""By which the losses of one step may differ."""


class StepTimes(TrainerCallback):
    """Seconds at the end of every step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the trainer's way to call back
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        **_: Any,
    ) -> TrainerControl:
        """Note the time."""
        self.ends.append(time.perf_counter())
        return control

    @property
    def seconds(self) -> float:
        """Median duration of the steps after the first."""
        return statistics.median(after - before for before, after in zip(self.ends, self.ends[1:], strict=False))


def run_arm(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train in this process and return seconds a step, peak memory and losses."""
    torch.set_num_threads(given.threads)
    imported = _peak_bytes()
    who, method = given.arm.split("-")
    training = Training(
        engine="Torch", method=method, gpus_per_node=0, batch_size=given.batch, learning_rate=5e-5, max_length=100_000
    )
    job = DpoJob(
        role="defender",
        model=str(given.model),
        pairs=[str(folder / "pairs.parquet")],
        output=str(folder / "model"),
        checkpoints=str(folder / given.arm),
        training=training,
        seed=0,
    )
    device = replace(find_device(training), bf16=False)  # in bfloat16 the losses could not be held against each other
    settings = dpo_arguments(job, device, AutoConfig.from_pretrained(job.model))
    model = load_causal_lm(given.model, weights_dtype(training, device), settings.device)
    adapter = lora_config(model, training.lora, training.upper_layers) if method == "LoRA" else None
    times = StepTimes()
    tokenizer = load_tokenizer(given.model)
    if who == "ours":
        pairs = tokenize([Path(job.pairs[0])], tokenizer, training.max_length)
        trainer: Any = CachedReferenceTrainer(model, settings, pairs, tokenizer, adapter, [times])
    else:
        settings.precompute_ref_log_probs = False
        trainer = DPOTrainer(
            model=model,
            ref_model=None if adapter else load_causal_lm(given.model, model.dtype, settings.device),
            args=settings,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list([_conversation(row) for row in read_pairs([Path(job.pairs[0])])]),
            peft_config=adapter,
            callbacks=[times],
        )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"seconds": times.seconds, "peak_bytes": _peak_bytes(), "imported_bytes": imported, "losses": losses}


def score(given: argparse.Namespace, folder: Path) -> float:
    """Write the pairs with the reference's log-probabilities, and return the seconds a pair that took."""
    torch.set_num_threads(given.threads)
    rows = read_rows(given.pairs, given.rows)
    model, tokenizer = load_causal_lm(given.model, torch.float32, "cpu"), load_tokenizer(given.model)
    encoded = [encode_pair(tokenizer, row["prompt"], row["preferred"], row["dispreferred"]) for row in rows]
    started = time.perf_counter()
    answers = [[pair.preferred, pair.dispreferred] for pair in encoded]
    logprobs = answer_logprobs(model, [pair.prompt for pair in encoded], answers)
    seconds = time.perf_counter() - started
    table = [
        {
            "prompt": row["prompt"],
            "chosen": row["preferred"],
            "rejected": row["dispreferred"],
            "ref_chosen_logps": chosen,
            "ref_rejected_logps": rejected,
        }
        for row, (chosen, rejected) in zip(rows, logprobs, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(table), folder / "pairs.parquet")
    return seconds / len(rows)


def compare(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run every arm in turns and put their figures side by side."""
    reference_seconds = _in_process(given, folder, "score")["seconds"]
    arms = [f"{who}-{method}" for method in given.methods for who in ("ours", "stock")]
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for turn in range(given.repeats):
        for arm in arms[turn % len(arms) :] + arms[: turn % len(arms)]:
            runs[arm].append(_in_process(given, folder, arm))
            last = runs[arm][-1]
            print(f"{arm}: {last['seconds']:.2f} s a step, {last['peak_bytes'] / 2**30:.2f} GiB", flush=True)
    faster: dict[str, dict[str, float]] = {}
    memory: dict[str, float] = {}
    for method in given.methods:
        ours, stock = runs[f"ours-{method}"], runs[f"stock-{method}"]
        difference = max(abs(a - b) for a, b in zip(ours[0]["losses"], stock[0]["losses"], strict=True))
        if difference > TOLERANCE:
            sys.exit(f"{method}: losses differ by {difference:.2g}: these are not the same training")
        seconds = {"ours": [run["seconds"] for run in ours], f"stock TRL, {method}": [run["seconds"] for run in stock]}
        faster |= ratios(seconds, "ours")
        memory[f"stock TRL, {method}"] = _median(ours, "peak_bytes") / _median(stock, "peak_bytes")
    return {
        "rows": given.rows,
        "pairs_per_step": given.batch,
        "dtype": "float32",
        "repeats": given.repeats,
        "times_faster_than": faster,
        "goals": dict.fromkeys(faster, TIME_GOAL),
        "peak_memory_of": memory,
        "peak_memory_goals": {"stock TRL, Full": MEMORY_GOAL},
        "reference_seconds_per_pair": reference_seconds,
        "runs": runs,
    }


def _in_process(given: argparse.Namespace, folder: Path, arm: str) -> dict[str, Any]:
    """Run one arm in a fresh process, whose last line of output is its figures."""
    options = {
        "--model": given.model, "--pairs": given.pairs, "--rows": given.rows, "--batch": given.batch,
        "--threads": given.threads, "--arm": arm, "--folder": folder,
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.dpo_step", *(str(part) for pair in options.items() for part in pair)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {name: [{"role": role, "content": row[name]}] for name, role in roles.items()}


def _median(runs: Sequence[dict[str, Any]], name: str) -> float:
    return float(statistics.median(run[name] for run in runs))


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Compare; or, with `--arm`, be one of the compared."""
    parser = arguments(str(__doc__).splitlines()[0], rows=24)
    parser.add_argument("--batch", type=int, default=4, help="pairs per optimizer step")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        work: dict[str, Callable[[], dict[str, Any]]] = {"score": lambda: {"seconds": score(given, given.folder)}}
        print(json.dumps(work.get(given.arm, lambda: run_arm(given, given.folder))()))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = compare(given, Path(folder))
    report("dpo_step", result, given.output)
    for other, ratio in result["peak_memory_of"].items():
        print(f"peak memory, of {other}: {ratio:.2f} (goal with a reference model in memory: {MEMORY_GOAL})")


if __name__ == "__main__":
    main()
