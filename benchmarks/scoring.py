"""Log-probabilities of preference pairs: ours against lm-evaluation-harness and TRL's reference pass.

    python -m benchmarks.scoring --model FOLDER --pairs FILE --rows 64 [--dtype bfloat16]

All score the same token ids with the same loaded model; their figures must agree, or the run fails. FILE is JSONL, or
the variants.parquet that a run's Attack stage left: then the work is that of the Score stage.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from benchmarks.harness import arguments, interleaved, ratios, read_rows, report
from hardening_trainer.inference.chat import EncodedPair, encode_pair
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.models import load_causal_lm, load_tokenizer
from hardening_trainer.models.load import DTYPES
from hardening_trainer.storage.tables import VARIANTS, read_table

GOALS = {"lm-evaluation-harness": 2.5, "TRL reference pass": 1.5}
TOLERANCE = {torch.float32: 1e-2, torch.bfloat16: 2.0}
"""Nats by which the sums over one answer may differ: in bfloat16 the order of additions moves a sum by some tenths."""

Figures = dict[str, list[tuple[float, float]]]


def read_pairs(path: Path, count: int) -> list[dict[str, str]]:
    """The first `count` pairs of a JSONL file, or valid variants of a table of Attack, in random order."""
    if path.suffix != ".parquet":
        return read_rows(path, count)
    variants = [row for row in read_table(path, VARIANTS) if row["status"] == "Valid"]
    drawn = random.Random(0).sample(variants, min(count, len(variants)))  # noqa: S311 - an order, not a secret
    return [{**row, "prompt": row["variant"]} for row in drawn]


def ours(model: PreTrainedModel, pairs: list[EncodedPair], batch_tokens: int | None) -> list[tuple[float, float]]:
    """(preferred, dispreferred) log-probabilities by the project's scorer."""
    answers = [[pair.preferred, pair.dispreferred] for pair in pairs]
    scored = answer_logprobs(model, [pair.prompt for pair in pairs], answers, batch_tokens)
    return [(preferred, dispreferred) for preferred, dispreferred in scored]


def harness(lm: Any, pairs: list[EncodedPair]) -> list[tuple[float, float]]:
    """The same by lm-evaluation-harness, given the same token ids."""
    requests = [(("", ""), pair.prompt, answer) for pair in pairs for answer in (pair.preferred, pair.dispreferred)]
    sums = [value for value, _ in lm._loglikelihood_tokens(requests, disable_tqdm=True)]
    return list(zip(sums[::2], sums[1::2], strict=True))


def trl(trainer: Any, model: PreTrainedModel, batch_size: int) -> list[tuple[float, float]]:
    """The same by the loop of TRL's reference pass, in its order and padding."""
    rows = [{key: row[key] for key in ("prompt_ids", "chosen_ids", "rejected_ids")} for row in trainer.train_dataset]
    result: list[tuple[float, float]] = []
    for start in range(0, len(rows), batch_size):
        batch = trainer.data_collator(rows[start : start + batch_size])
        chosen, rejected = trainer.compute_ref_log_probs(model, batch)
        result += zip(chosen.tolist(), rejected.tolist(), strict=True)
    return result


def trl_trainer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, str]], folder: str
) -> Any:
    """A DPOTrainer over the rows; only its tokenisation, collator and reference pass are used."""
    turns = {
        key: [[{"role": role, "content": row[field]}] for row in rows]
        for key, field, role in (
            ("prompt", "prompt", "user"),
            ("chosen", "preferred", "assistant"),
            ("rejected", "dispreferred", "assistant"),
        )
    }
    args = DPOConfig(
        output_dir=folder,
        use_cpu=model.device.type == "cpu",
        bf16=model.dtype == torch.bfloat16,
        max_length=None,
        report_to=[],
    )
    dataset = Dataset.from_dict(turns)
    return DPOTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer)


def disagreement(figures: Figures, name: str) -> float:
    """Largest difference (nats) of any sum from ours."""
    return max(
        abs(theirs - own)
        for row, other in zip(figures["ours"], figures[name], strict=True)
        for own, theirs in zip(row, other, strict=True)
    )


def main() -> int:
    """Measure, print, write; 1 when the figures disagree."""
    parser = arguments("Scoring against lm-evaluation-harness and TRL", rows=64)
    parser.add_argument("--batch-size", type=int, default=8, help="sequences (TRL: pairs) a batch, theirs")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the weights, ours and theirs")
    parser.add_argument("--batch-tokens", type=int, help="ours; by default the scorer's own")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = read_pairs(options.pairs, options.rows)
    with tempfile.TemporaryDirectory() as folder:
        return _measure(options, rows, folder)


def _measure(options: argparse.Namespace, rows: list[dict[str, str]], folder: str) -> int:
    model, tokenizer = load_causal_lm(options.model, DTYPES[options.dtype]), load_tokenizer(options.model)
    pairs = [encode_pair(tokenizer, row["prompt"], row["preferred"], row["dispreferred"]) for row in rows]
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=options.batch_size, device=str(model.device))
    trainer = trl_trainer(model, tokenizer, rows, folder)
    model.train(False)
    ways: dict[str, Callable[[], list[tuple[float, float]]]] = {
        "ours": lambda: ours(model, pairs, options.batch_tokens),
        "lm-evaluation-harness": lambda: harness(lm, pairs),
        "TRL reference pass": lambda: trl(trainer, model, options.batch_size),
    }
    figures: Figures = {}

    def timed(name: str) -> Callable[[], float]:
        def run() -> float:
            figures[name] = ways[name]()
            return float(len(pairs))

        return run

    seconds = interleaved({name: timed(name) for name in ways}, options.repeats)
    differences = {name: disagreement(figures, name) for name in GOALS}
    result = {
        "rows": len(pairs),
        "tokens": sum(len(p.prompt) * 2 + len(p.preferred) + len(p.dispreferred) for p in pairs),
        "dtype": str(model.dtype),
        "seconds_per_pair": seconds,
        "times_faster_than": ratios(seconds, "ours"),
        "goals": GOALS,
        "largest_difference_nats": differences,
    }
    report("scoring" if model.dtype == torch.float32 else f"scoring_{options.dtype}", result, options.output)
    agreed = max(differences.values()) < TOLERANCE[model.dtype]
    print(f"largest difference: {max(differences.values()):.2e} nats: {'agreed' if agreed else 'DISAGREED'}")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
