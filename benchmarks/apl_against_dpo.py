"""APL against plain DPO on equal training tokens: the same held-out prompts, the same attackers, several seeds.

    python -m benchmarks.apl_against_dpo --manifest examples/smollm2-135m.yaml --work FOLDER --seeds 0 1 2

For each seed, and then over all of them:

    `hardening run` of the manifest with that seed, every
    round, whatever its gates say                         -> APL's defender, and an attacker for every round
    TrainDefender's own training, on original and benign
    pairs only, as many tokens a round as APL's had       -> plain DPO's defender
    the one of both that refuses more benign prompts,
    weakened until it refuses as many as the other        -> both at matched over-refusal
    held-out prompts as they are, behind the lead-ins of
    every attacker, benign ones, ordinary questions       -> base, APL, plain DPO, and both matched

Answers are greedy and judged by RefusalPattern. What is in FOLDER already is not done again. `--ordinary` takes a file
of rows with `turns` (MT-Bench); its first turns are asked.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.comparison import ARMS, MATCHED, Panel, attacker_summary, compact, summary, valid_shares
from benchmarks.harness import RESULTS, machine
from benchmarks.matching import Weakened, at_strength, matched
from hardening_api.run import HardeningRun, HardeningRunSpec
from hardening_operator.documents import WrongContent, load_one
from hardening_operator.local.preflight import resolve_relative_uris
from hardening_operator.planner.stage_configs import stage_seed, trained_model
from hardening_operator.planner.types import StageKey
from hardening_trainer.data import Pair, read_pairs
from hardening_trainer.dpo.job import DpoJob
from hardening_trainer.dpo.training import train
from hardening_trainer.inference.chat import encode_pair
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.models import ResolvedModel, load_causal_lm, load_tokenizer, resolve_model
from hardening_trainer.models.interpolation import save_interpolated
from hardening_trainer.runtime.inputs import resolve_source

LEAST_PROMPTS = 30
"""Held-out prompts that the run itself evaluates on."""
CACHE = Path.home() / ".cache" / "hardening-operator"


@dataclass(frozen=True)
class Scored:
    """A pair with the base's log-probabilities, and its tokens as TokenPairs counts them."""

    row: dict[str, Any]
    tokens: int


class Quiet:
    """A training's report that nobody reads."""

    def planned(self, steps: int, done: int) -> None:
        """Ignored."""

    def stepped(self, tokens: int, figures: dict[str, float]) -> None:
        """Ignored."""

    def saved(self) -> None:
        """Ignored."""


def read_manifest(path: Path, seed: int) -> HardeningRun:
    """The manifest with another seed and absolute URIs."""
    try:
        run = load_one(path, HardeningRun)
    except WrongContent as fault:
        sys.exit(str(fault))
    document = resolve_relative_uris(run.to_document(), path.resolve().parent)
    document["spec"].setdefault("training", {})["seed"] = seed
    return HardeningRun.model_validate(document)


def without_gating(run: HardeningRun, rounds: int | None) -> HardeningRun:
    """The same run for so many rounds, its own evaluation cut short: the panel measures here, on all prompts."""
    spec = run.spec
    sources = {
        name: source.model_copy(update={"limit": LEAST_PROMPTS}) for name, source in spec.data.evaluation if source
    }
    data = spec.data.model_copy(update={"evaluation": spec.data.evaluation.model_copy(update=sources)})
    promotion = spec.promotion.model_copy(update={"stop": "Best"})
    return run.model_copy(
        update={"spec": spec.model_copy(update={"data": data, "promotion": promotion, "rounds": rounds or spec.rounds})}
    )


def run_apl(run: HardeningRun, folder: Path) -> dict[str, Any]:
    """Run APL in `folder`, or resume it, and return its status; a run that has ended there stays as it is."""
    ended = folder / "status.json"
    if ended.exists() and json.loads(ended.read_text())["phase"] in ("Promoted", "NotPromoted"):
        done: dict[str, Any] = json.loads(ended.read_text())
        return done
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder.parent / f"{folder.name}.yaml"
    manifest.write_text(yaml.safe_dump(run.to_document()))
    command = "from hardening_operator.cli.main import run; run()"
    words = [sys.executable, "-c", command, "run", "--plain", str(manifest), "--workspace", str(folder)]
    code = subprocess.run(words, check=False).returncode
    if code not in (0, 3):
        sys.exit(f"{folder}: hardening run ended with {code}")
    status: dict[str, Any] = json.loads(ended.read_text())
    return status


def local_model(folder: Path) -> ResolvedModel:
    """A trained model by its folder."""
    return resolve_model(folder.resolve().as_uri(), None, CACHE)


def score_pairs(base: ResolvedModel, pairs: Sequence[Pair]) -> list[Scored]:
    """Add the reference's log-probabilities to pairs, as the Score stage does."""
    model, tokenizer = load_causal_lm(base.path), load_tokenizer(base.path)
    encoded = [encode_pair(tokenizer, pair.prompt, pair.preferred, pair.dispreferred) for pair in pairs]
    sums = answer_logprobs(
        model, [one.prompt for one in encoded], [[one.preferred, one.dispreferred] for one in encoded]
    )
    return [
        Scored(
            {
                "prompt": pair.prompt,
                "chosen": pair.preferred,
                "rejected": pair.dispreferred,
                "ref_chosen_logps": chosen,
                "ref_rejected_logps": rejected,
            },
            2 * len(one.prompt) + len(one.preferred) + len(one.dispreferred),
        )
        for pair, one, (chosen, rejected) in zip(pairs, encoded, sums, strict=True)
    ]


def mixture(harmful: Iterator[Scored], benign: Iterator[Scored], share: float, tokens: int) -> list[Scored]:
    """Draw `share` benign pairs for each harmful one until they hold `tokens` tokens."""
    drawn: list[Scored] = []
    owed = 0.0
    while sum(one.tokens for one in drawn) < tokens:
        drawn.append(next(harmful))
        owed += share
        while owed >= 1:
            drawn.append(next(benign))
            owed -= 1
    return drawn


def endless(pairs: Sequence[Scored], seed: int) -> Iterator[Scored]:
    """All pairs in random order, again and again; each comes once before any comes twice."""
    noise = random.Random(seed)  # noqa: S311 - an order, not a secret
    while True:
        yield from noise.sample(pairs, len(pairs))


def train_plain(
    spec: HardeningRunSpec,
    status: dict[str, Any],
    base: ResolvedModel,
    scored: tuple[list[Scored], list[Scored]],
    work: Path,
) -> ResolvedModel:
    """Plain DPO in as many rounds as APL, each on as many tokens and with the same settings."""
    seed, model = spec.training.seed, base
    harmful, benign = endless(scored[0], seed), endless(scored[1], seed)
    training = spec.training.for_role("defender")
    # APL's mixture has `benignShare` benign pairs for one attacked pair and `originalShare` originals.
    share = spec.training.benign_share / (1 + spec.training.original_share)
    for entry in status["rounds"]:
        round_number = entry["round"]
        tokens = next(one["tokens"] for one in entry["trainings"] if one["role"] == "defender") // training.epochs
        chosen = mixture(harmful, benign, share, tokens)
        output = work / f"round-{round_number}"
        if not (output / "done.json").exists():
            output.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist([one.row for one in chosen]), output / "pairs.parquet")
            job = DpoJob(
                role="defender",
                model=str(model.path),
                pairs=[str(output / "pairs.parquet")],
                output=str(output / "reached"),
                checkpoints=str(output / "checkpoints"),
                training=training,
                seed=stage_seed(seed, StageKey(round_number, "TrainDefender")),
            )
            outcome = train(job, Quiet(), lambda: False)
            save_interpolated(model.path, output / "reached", training.interpolation, output / "model")
            (output / "done.json").write_text(outcome.figures.model_dump_json())
        model = local_model(output / "model")
    return model


def measure_seed(
    run: HardeningRun,
    options: argparse.Namespace,
    panel: Panel,
    base: ResolvedModel,
    scored: tuple[list[Scored], list[Scored]],
) -> dict[str, Any]:
    """Train both defenders of one seed and put the questions to them."""
    seed = run.spec.training.seed
    work: Path = options.work / f"seed-{seed}"
    status = run_apl(without_gating(run, options.rounds), work / "apl")
    status["rounds"] = status["rounds"][: options.rounds]
    rounds = [entry["round"] for entry in status["rounds"]]
    plain = train_plain(run.spec, status, base, scored, work / "plain")
    apl = local_model(work / "apl" / trained_model(rounds[-1], "defender"))
    attackers = {"base": base} | {
        f"round {number}": local_model(work / "apl" / trained_model(number, "attacker")) for number in rounds
    }
    arms = dict(zip(ARMS, (apl, plain), strict=True))
    found = matched(arms, panel.refusals, {arm: _weakened(base, model, work / arm) for arm, model in arms.items()})
    equal = {name: found[arm][1] for arm, name in zip(ARMS, MATCHED, strict=True)}
    figures = panel.measure({"base": base, **arms, **equal}, attackers, seed)
    trained = [one["tokens"] for entry in status["rounds"] for one in entry["trainings"] if one["role"] == "defender"]
    spent = [json.loads(file.read_text())["tokens"] for file in sorted(work.glob("plain/*/done.json"))]
    return {
        "seed": seed,
        "phase": status["phase"],
        "rounds": status["rounds"],
        "base": status["base"],
        "seconds": sum(
            stage.get("seconds", 0.0) for entry in [status["base"], *status["rounds"]] for stage in entry["stages"]
        ),
        "tokens": {"APL": trained, "plain DPO": spent},
        "strength": {arm: strength for arm, (strength, _) in found.items()},
        **figures,
    }


def _weakened(base: ResolvedModel, model: ResolvedModel, folder: Path) -> Weakened:
    def at(strength: float) -> ResolvedModel:
        return local_model(at_strength(base.path, model.path, strength, folder / f"strength-{strength:.2f}"))

    return at


def main() -> None:
    """Run every seed, print the summary, write everything."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    first = read_manifest(options.manifest, options.seeds[0])
    base = resolve_source(first.spec.model, os.environ)
    panel = Panel.of(first.spec, base, options.work / "answers", options.ordinary, options.variants)
    preferences, benign = first.spec.data.preferences, first.spec.data.benign_preferences
    if benign is None:
        sys.exit(f"{options.manifest}: spec.data.benignPreferences: missing: expected a source, as plain DPO has one")
    scored = (
        score_pairs(base, read_pairs(preferences, os.environ).rows),
        score_pairs(base, read_pairs(benign, os.environ).rows),
    )
    seeds = [
        measure_seed(read_manifest(options.manifest, seed), options, panel, base, scored) for seed in options.seeds
    ]
    result = {
        "machine": machine(),
        "manifest": options.manifest.name,
        "variants": options.variants,
        "summary": summary(seeds),
        "attackers": attacker_summary(seeds),
        "valid": valid_shares(seeds),
        "seeds": [compact(one) for one in seeds],
    }
    output = options.output or RESULTS / "apl_against_dpo.json"
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of all that is trained and answered")
    parser.add_argument("--rounds", type=int, help="rounds of APL and of plain DPO (default: the manifest's)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--variants", type=int, default=1, help="lead-ins of every attacker before each held-out prompt"
    )
    parser.add_argument("--ordinary", type=Path, help="JSONL with `turns`, such as MT-Bench's questions")
    parser.add_argument("--output", type=Path, help="where the JSON goes (default: benchmarks/results)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
