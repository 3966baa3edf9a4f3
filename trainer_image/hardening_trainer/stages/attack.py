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
from typing import Any

from hardening_api.stages import AttackConfig, AttackSums, StageConfig, StageResult
from hardening_api.stats import MeanSums
from hardening_trainer.attack.sampler import AttackSampler, draw_variants, noise_key, round_seed
from hardening_trainer.attack.variants import Variant, distinct_bigrams, self_bleu
from hardening_trainer.data import Pair
from hardening_trainer.models import ResolvedModel
from hardening_trainer.models.in_memory import ModelInMemory
from hardening_trainer.models.load import end_of_turn_notice
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.storage.resume_cache import ResumeCache
from hardening_trainer.storage.tables import VARIANTS, write_table

log = logging.getLogger(__name__)

TABLE = "variants.parquet"


@dataclass(frozen=True)
class AttackedPrompt:
    """A prompt that the round attacks, and its place among all of them."""

    position: int
    pair: Pair = field(repr=False)


def run(context: StageContext) -> StageResult:
    """Sample and classify the variants; what an interrupted attempt has drawn is not drawn again."""
    config = context.section(AttackConfig)
    sources = [source for source in (config.preferences, config.attacks) if source is not None]
    pairs = [pair for source in sources for pair in context.pairs(source).rows]
    prompts = of_shard(choose(pairs, config, context.config), context.config)
    attacker = context.model(config.attacker)
    rows = _attack(context, config, prompts, attacker)
    rows.sort(key=lambda row: (row["position"], row["variant_index"]))
    write_table(context.folder / TABLE, rows, VARIANTS)
    sums = summed(rows)
    return StageResult(
        stage=context.config.stage,
        round=context.config.round,
        shard=context.config.shard,
        outcome="Succeeded",
        message=_warning(sums, config, attacker),
        attack=sums,
    )


def choose(rows: Sequence[Pair], config: AttackConfig, stage: StageConfig) -> list[AttackedPrompt]:
    """Return the prompts that the round attacks, over all shards, in an order drawn by the seed.

    With `promptsPerRound` n, round t takes the t-th n of a fixed random order, beginning again at its end.
    """
    order = sorted(rows, key=lambda row: (noise_key(f"{stage.seed}/{row.id}"), row.id))
    count = min(config.settings.prompts_per_round or len(order), len(order))
    start = max(0, stage.round - 1) * count
    return [AttackedPrompt(position, order[(start + position) % len(order)]) for position in range(count)]


def of_shard(prompts: Sequence[AttackedPrompt], stage: StageConfig) -> list[AttackedPrompt]:
    """Return those of this shard."""
    return [prompt for prompt in prompts if prompt.position % stage.shard.count == stage.shard.index]


def _attack(
    context: StageContext, config: AttackConfig, prompts: list[AttackedPrompt], attacker: ResolvedModel
) -> list[dict[str, Any]]:
    context.stop.check()
    seed, count = round_seed(context.config.seed, context.config.round), config.settings.variants_per_prompt
    records = ResumeCache(context.partial, context.keep_partial).records("variants", Variant)
    context.progress.total(len(prompts) * count)
    with ModelInMemory() as in_memory:
        drawn = draw_variants(
            [prompt.pair for prompt in prompts],
            attacker.digest,
            count,
            lambda: AttackSampler(*in_memory.load(attacker), config.settings, count, seed),
            records,
            context.advance,
        )
    return [row for prompt, variants in zip(prompts, drawn, strict=True) for row in _rows(prompt, variants)]


def _rows(prompt: AttackedPrompt, variants: Sequence[Variant]) -> list[dict[str, Any]]:
    pair = prompt.pair
    common = {
        "prompt_id": pair.id,
        "position": prompt.position,
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


def _warning(sums: AttackSums, config: AttackConfig, attacker: ResolvedModel) -> str | None:
    endless = end_of_turn_notice(attacker.path)
    found = [_likeness(sums, config), f"attacker: {endless}" if endless else None]
    return ". ".join(text for text in found if text) or None


def _likeness(sums: AttackSums, config: AttackConfig) -> str | None:
    diversity = sums.diversity.mean()
    if diversity is None or diversity.value >= config.settings.min_diversity:
        return None
    message = (
        f"the variants are much alike: distinct bigrams {diversity.value:.2f}, expected at least "
        f"{config.settings.min_diversity} (minDiversity): raise sampling.temperature or topP"
    )
    log.warning("%s", message)
    return message
