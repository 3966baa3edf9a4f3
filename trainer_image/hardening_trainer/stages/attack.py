"""Attack: the attacker samples K variants of each prompt of this shard.

waits for     TrainAttacker of the round before (round 1: nothing)
unblocks      Score of the same shard
leaves        variants.parquet, one row a variant, valid or not
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from hardening_api.stages import AttackConfig, AttackSums, StageConfig, StageResult
from hardening_api.stats import MeanSums
from hardening_trainer.attack.sampler import AttackSampler, noise_key, round_seed
from hardening_trainer.attack.variants import Variant, distinct_bigrams, self_bleu
from hardening_trainer.data import Pair
from hardening_trainer.errors import CorruptInput
from hardening_trainer.models import load_causal_lm, load_tokenizer
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.storage.tables import VARIANTS, read_table, write_table

log = logging.getLogger(__name__)

TABLE = "variants.parquet"


@dataclass(frozen=True)
class Target:
    """A prompt to attack, and its place among all that the round attacks."""

    position: int
    pair: Pair = field(repr=False)


def run(context: StageContext) -> StageResult:
    """Sample and classify the variants; resume from the batches an interrupted attempt saved."""
    config = context.config.attack
    assert config is not None  # noqa: S101  # the contract: the section of the stage is given
    sources = [source for source in (config.preferences, config.attacks) if source is not None]
    pairs = [pair for source in sources for pair in context.pairs(source).rows]
    targets = of_shard(choose(pairs, config, context.config), context.config)
    resolved = context.model(config.attacker)
    rows = _attack(context, config, targets, resolved.path)
    rows.sort(key=lambda row: (row["position"], row["variant_index"]))
    write_table(context.folder / TABLE, rows, VARIANTS)
    sums = summed(rows)
    return StageResult(
        stage=context.config.stage,
        round=context.config.round,
        shard=context.config.shard,
        outcome="Succeeded",
        message=_warning(sums, config),
        attack=sums,
    )


def choose(rows: Sequence[Pair], config: AttackConfig, stage: StageConfig) -> list[Target]:
    """Return the prompts that the round attacks, over all shards, in an order drawn by the seed.

    With `promptsPerRound` n, round t takes the t-th n of a fixed random order, starting over at its end.
    """
    order = sorted(rows, key=lambda row: (noise_key(f"{stage.seed}/{row.id}"), row.id))
    count = min(config.settings.prompts_per_round or len(order), len(order))
    start = max(0, stage.round - 1) * count
    return [Target(position, order[(start + position) % len(order)]) for position in range(count)]


def of_shard(targets: Sequence[Target], stage: StageConfig) -> list[Target]:
    """Return those of this shard."""
    return [target for target in targets if target.position % stage.shard.count == stage.shard.index]


def _attack(context: StageContext, config: AttackConfig, targets: list[Target], path: Path) -> list[dict[str, Any]]:
    """One table in `partial` for each batch; those that are there already are not sampled again."""
    context.stop.check()
    model, tokenizer = load_causal_lm(path), load_tokenizer(path)
    seed = round_seed(context.config.seed, context.config.round)
    sampler = AttackSampler(model, tokenizer, config.settings, config.settings.variants_per_prompt, seed)
    # Prompts of a like length share a batch, so that little of it is padding.
    targets = sorted(targets, key=lambda target: (len(sampler.encode(target.pair)), target.position))
    size = sampler.prompts_per_batch
    batches = [targets[start : start + size] for start in range(0, len(targets), size)]
    files = [context.partial / f"batch-{number:05}.parquet" for number in range(len(batches))]
    done = sum(len(batch) for batch, file in zip(batches, files, strict=True) if file.exists())
    context.progress.total(len(targets), done)
    rows: list[dict[str, Any]] = []
    for batch, file in zip(batches, files, strict=True):
        found = _saved(file)
        if found is None:
            context.stop.check()
            before = sampler.tokens
            drawn = sampler.draw([target.pair for target in batch])
            found = [row for target, several in zip(batch, drawn, strict=True) for row in _rows(target, several)]
            write_table(file, found, VARIANTS)
            context.keep_partial()
            context.progress.advance(len(batch), tokens=sampler.tokens - before)
        rows.extend(found)
    return rows


def _saved(file: Path) -> list[dict[str, Any]] | None:
    """Rows an earlier attempt saved; None if there are none or the file is damaged."""
    if not file.exists():
        return None
    try:
        return read_table(file, VARIANTS)
    except CorruptInput:
        log.warning("%s is damaged: its prompts are attacked again", file.name)
        return None


def _rows(target: Target, variants: Sequence[Variant]) -> list[dict[str, Any]]:
    pair = target.pair
    common = {
        "prompt_id": pair.id,
        "position": target.position,
        "prompt": pair.prompt,
        "preferred": pair.preferred,
        "dispreferred": pair.dispreferred,
    }
    return [
        {**common, "variant_index": index, "variant": one.text, "written": one.written, "status": one.status}
        for index, one in enumerate(variants)
    ]


def summed(rows: Sequence[dict[str, Any]]) -> AttackSums:
    """Return the sums over rows that are ordered by prompt."""
    written = [[row["written"] for row in group] for _, group in groupby(rows, key=lambda row: row["position"])]
    return AttackSums(
        prompts=len(written),
        variants=len(rows),
        rejected=dict(sorted(Counter(row["status"] for row in rows if row["status"] != "Valid").items())),
        diversity=MeanSums.of([value for texts in written if (value := distinct_bigrams(texts)) is not None]),
        self_bleu=MeanSums.of([value for texts in written if (value := self_bleu(texts)) is not None]),
    )


def _warning(sums: AttackSums, config: AttackConfig) -> str | None:
    diversity = sums.diversity.mean()
    if diversity is None or diversity.value >= config.settings.min_diversity:
        return None
    message = (
        f"the variants are much alike: distinct bigrams {diversity.value:.2f}, expected at least "
        f"{config.settings.min_diversity} (minDiversity): raise sampling.temperature or topP"
    )
    log.warning("%s", message)
    return message
