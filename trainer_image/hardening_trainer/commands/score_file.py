"""`score-file`: R of every row of a file, as JSON lines, for anyone with a model and preference rows.

FILE rows {prompt, preferred, dispreferred} -> defender pass [-> reference pass] -> one line a row, in order

Computed in float32, whatever the hardware is fastest at: bfloat16 would be off by tenths of a nat.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardening_api.sources import DataSource
from hardening_trainer.data import Pair, read_pairs
from hardening_trainer.errors import UsageFault
from hardening_trainer.runtime.inputs import cache_folder

if TYPE_CHECKING:
    from hardening_trainer.inference.scoring import PairLogProbs

NAMES = (
    "direct_harmfulness",
    "defender_logp_preferred",
    "defender_logp_dispreferred",
    "reference_logp_preferred",
    "reference_logp_dispreferred",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="rows of prompt, preferred, dispreferred (.jsonl, .csv, .parquet)")
    parser.add_argument("--model", required=True, help="the defender: a folder, a .gguf file or a model URI")
    parser.add_argument("--reference", help="the reference, likewise; needed for an alpha above 0")
    parser.add_argument("--alpha", type=float, required=True, help="weight of the reference term")
    parser.add_argument("--length-normalize", action="store_true", help="divide log-probabilities by answer tokens")


def lines(given: argparse.Namespace, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield one JSON line for each row of the file, in its order. Raises StageError."""
    if not (math.isfinite(given.alpha) and given.alpha >= 0):
        raise UsageFault(f"--alpha: got {given.alpha}: expected a number of at least 0")
    if given.alpha > 0 and given.reference is None:
        raise UsageFault(f"--reference: missing with --alpha {given.alpha}: expected a model, or --alpha 0")
    rows = read_pairs(file_source(given.file), environ, keep_equal=True).rows
    from hardening_trainer.inference.logprobs import direct_harmfulness  # noqa: PLC0415  # torch takes seconds, faults before it none

    defender = _score(given.model, rows, environ)
    reference = _score(given.reference, rows, environ) if given.reference else [None] * len(rows)
    for mine, theirs in zip(defender, reference, strict=True):
        preferred, dispreferred = (theirs.first, theirs.second) if theirs else (None, None)
        counts = mine.answer_tokens if given.length_normalize else None
        harmfulness = direct_harmfulness(mine.first, mine.second, preferred, dispreferred, given.alpha, counts)
        yield json.dumps(dict(zip(NAMES, (harmfulness, mine.first, mine.second, preferred, dispreferred), strict=True)))


def _score(model_name: str, rows: Sequence[Pair], environ: Mapping[str, str]) -> list[PairLogProbs]:
    import torch  # noqa: PLC0415  # as above

    from hardening_trainer.inference.scoring import AnswerPair, score_pairs  # noqa: PLC0415
    from hardening_trainer.models import chosen_dtype, load_causal_lm, load_tokenizer  # noqa: PLC0415

    folder = resolve_name(model_name, environ).path
    model = load_causal_lm(folder, chosen_dtype() or torch.float32)
    pairs = [AnswerPair(row.prompt, row.preferred, row.dispreferred) for row in rows]
    return score_pairs(model, load_tokenizer(folder), pairs)


def resolve_name(name: str, environ: Mapping[str, str]) -> Any:
    """Resolve a model named on the command line: a URI, or a path of this machine."""
    from hardening_trainer.models import resolve_model  # noqa: PLC0415  # as above

    uri = name if "://" in name else Path(name).absolute().as_uri()
    return resolve_model(uri, None, cache_folder(environ))


def file_source(name: str) -> DataSource:
    """Return the source of a file named on the command line: a URI, or a path of this machine."""
    return DataSource(uri=name if "://" in name else Path(name).absolute().as_uri())
