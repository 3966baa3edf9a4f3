"""APL against plain DPO on Anthropic's HH-RLHF (arXiv 2204.05862), with the demo's settings.

    python -m benchmarks.hh_rlhf --data FOLDER --work FOLDER --seeds 0 1 2

FOLDER holds `hh-rlhf/harmless-base-test-head.jsonl.gz` (rows of its harmless-base test split) and `xstest/gpt4.csv`
(XSTest v2). They are read as the stages read them; what is trained and asked is written into the work folder:

    dialogues of one turn, no part longer than `--words`
        preferred answer declines, dispreferred complies -> training pairs, in HH-RLHF's own words
        others, the first `--held-out` of them           -> held-out prompts
    XSTest's safe prompts                                -> harmless prompts

By the judge's own rules most of HH-RLHF's preferred answers here do not decline, they only comply less: `--all-pairs`
trains on those as well.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import RESULTS
from hardening_api.sources import DataSource
from hardening_trainer.data import Pair, read_pairs
from hardening_trainer.judges.refusal_pattern import classify

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "smollm2-135m.yaml"
HH_RLHF, XSTEST = Path("hh-rlhf/harmless-base-test-head.jsonl.gz"), Path("xstest/gpt4.csv")
EVERY_BENIGN = 3
"""XSTest's prompts come in groups of a kind: every third keeps all kinds."""


def short_dialogues(file: Path, words: int) -> list[Pair]:
    """Return the pairs of one turn, each prompt once, without any text longer than `words`."""
    found: dict[str, Pair] = {}
    for pair in read_pairs(DataSource(uri=file.resolve().as_uri()), os.environ).rows:
        texts = (pair.prompt, pair.preferred, pair.dispreferred)
        if not pair.prompt.startswith("Human:") and all(len(text.split()) <= words for text in texts):
            found.setdefault(" ".join(pair.prompt.lower().split()), pair)
    return list(found.values())


def declines(answer: str) -> bool:
    """Whether an answer is a refusal by the rules of RefusalPattern."""
    return classify(answer)[0] != "full_compliance"


def split(pairs: Sequence[Pair], held_out: int, all_pairs: bool) -> tuple[list[Pair], list[Pair]]:
    """Return (training pairs, held-out pairs)."""
    plain = [pair for pair in pairs if declines(pair.preferred) and not declines(pair.dispreferred)]
    others = [pair for pair in pairs if pair not in plain]
    held, left = others[:held_out], others[held_out:]
    return [*plain, *left] if all_pairs else plain, held


def safe_prompts(file: Path) -> list[dict[str, str]]:
    """Return a share of XSTest's safe prompts; its unsafe ones are of types named `contrast_...`."""
    with file.open(encoding="utf-8", newline="") as stream:
        safe = [row for row in csv.DictReader(stream) if not row["type"].startswith("contrast")]
    return [{"id": row["id"], "prompt": row["prompt"]} for row in safe[::EVERY_BENIGN]]


def manifest() -> dict[str, Any]:
    """Return the demo's manifest with other data, every round on all of it."""
    document: dict[str, Any] = yaml.safe_load(DEMO.read_text())
    document["metadata"]["name"] = "hh-rlhf"
    spec = document["spec"]
    benign = (DEMO.parent / spec["data"]["benignPreferences"]["uri"].removeprefix("file://./")).resolve().as_uri()
    spec["data"] = {
        "preferences": {"uri": "file://./pairs.jsonl"},
        "benignPreferences": {"uri": benign},
        "evaluation": {"harmful": {"uri": "file://./harmful.jsonl"}, "benign": {"uri": "file://./benign.jsonl"}},
    }
    del spec["attacker"]["promptsPerRound"]
    return document


def write_rows(file: Path, rows: Iterable[dict[str, str]]) -> int:
    """Write JSONL and return the number of rows."""
    lines = [json.dumps(row) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def prepare(options: argparse.Namespace, work: Path) -> Path:
    """Write data and manifest into the work folder and return the manifest's path."""
    work.mkdir(parents=True, exist_ok=True)
    dialogues = short_dialogues(options.data / HH_RLHF, options.words)
    training, held = split(dialogues, options.held_out, options.all_pairs)
    counts = {
        "dialogues": len(dialogues),
        "training pairs": write_rows(work / "pairs.jsonl", map(_row, training)),
        "held-out prompts": write_rows(work / "harmful.jsonl", map(_row, held)),
        "harmless prompts": write_rows(work / "benign.jsonl", safe_prompts(options.data / XSTEST)),
    }
    print(counts)
    file = work / "hh-rlhf.yaml"
    file.write_text(yaml.safe_dump(manifest(), sort_keys=False))
    return file


def _row(pair: Pair) -> dict[str, str]:
    return {"id": pair.id, "prompt": pair.prompt, "preferred": pair.preferred, "dispreferred": pair.dispreferred}


def main() -> int:
    """Prepare and compare; where the data are absent say so and do nothing."""
    options = _options()
    for file in (HH_RLHF, XSTEST):
        if not (options.data / file).is_file():
            print(f"skipped: {options.data / file}: not there: expected Anthropic's HH-RLHF and XSTest v2 in --data")
            return 0
    work = options.work.resolve()
    words = ["--manifest", prepare(options, work), "--work", work, "--variants", options.variants]
    command = [sys.executable, "-m", "benchmarks.apl_against_dpo", *words, "--output", options.output.resolve()]
    command += ["--rounds", options.rounds] if options.rounds else []
    return subprocess.run([*map(str, [*command, "--seeds", *options.seeds])], check=False, cwd=ROOT).returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with hh-rlhf/ and xstest/")
    parser.add_argument("--work", type=Path, required=True, help="folder of all that is trained and answered")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", type=int, default=1, help="lead-ins of every attacker before a held-out prompt")
    parser.add_argument("--rounds", type=int, help="rounds of both (default: the demo's)")
    parser.add_argument("--words", type=int, default=60, help="longest prompt or answer")
    parser.add_argument("--held-out", type=int, default=80)
    parser.add_argument("--all-pairs", action="store_true", help="train on pairs without a refusal as well")
    parser.add_argument("--output", type=Path, default=RESULTS / "hh_rlhf.json", help="where the JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
