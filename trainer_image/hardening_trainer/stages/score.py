"""Score: direct harmfulness R of every valid variant, the choice among them, and both roles' training pairs.

variants.parquet -> log-probs under the defender (and the reference) -> R -> x'_w, x'_l
                 -> pairs + log-probs under the reference: TrainAttacker and TrainDefender need no reference model
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from hardening_api.stage import ScoreConfig, ScoreSums, StageResult
from hardening_api.sums import MeanSums
from hardening_trainer.attack_table import AttackTable, VariantRow, read_variants
from hardening_trainer.errors import StageError
from hardening_trainer.models import ResolvedModel
from hardening_trainer.pairing import Selection, TrainingPair, benign_rows, originals, select
from hardening_trainer.pairscores import PairLogps, PairScorer
from hardening_trainer.rewriting import template_of
from hardening_trainer.runtime import StageContext
from hardening_trainer.scoring import direct_harmfulness

SAME_MODELS = "alpha is 1 and the defender is the reference, so R is zero everywhere: use an alpha below 1."


@dataclass(frozen=True)
class ScoredVariant:
    """A valid variant, its R and the log-probabilities R was made of."""

    row: VariantRow
    harmfulness: float
    defender: PairLogps
    reference: PairLogps | None


def run(context: StageContext) -> StageResult:
    """Score this shard's variants and write `scores.parquet`, `attacker-pairs.parquet`, `defender-pairs.parquet`."""
    config = context.config.score
    if config is None:
        raise StageError("stage config: no section score")  # the contract demands it: only a bug gets here
    table = read_variants(context.inputs.stage(config.attack))
    defender, reference = context.model(config.defender), context.model(config.reference)
    attacker_reference = context.model(config.attacker_reference)
    scorer = PairScorer(context.partial / "scores.jsonl", context.stop.check, context.progress)
    valid = [row for row in table.rows if row.status == "Valid"]
    scorer.expect(2 * len(valid))

    scored = _score(config, scorer, valid, defender, reference)
    by_prompt = _by_prompt(scored)
    selections = [
        (variants, select(variants, by_prompt.get(variants[0].prompt_id, {}), config.scoring.epsilon))
        for variants in table.by_prompt()
    ]
    attacker_pairs = list(_attacker_pairs(config, selections))
    defender_pairs = _defender_pairs(context, config, table, selections)
    _write_pairs(context, "defender", defender_pairs, scorer.logps(reference, _texts(defender_pairs)))
    _write_pairs(context, "attacker", attacker_pairs, scorer.logps(attacker_reference, _texts(attacker_pairs)))
    _write_scores(context, scored)

    same = config.scoring.alpha == 1 and defender.digest == reference.digest
    return StageResult(
        stage="Score",
        round=context.config.round,
        shard=context.config.shard,
        outcome="Succeeded",
        message=SAME_MODELS if same else None,
        score=_sums(scored, selections, attacker_pairs, defender_pairs, by_prompt),
    )


def _score(
    config: ScoreConfig,
    scorer: PairScorer,
    valid: Sequence[VariantRow],
    defender: ResolvedModel,
    reference: ResolvedModel,
) -> list[ScoredVariant]:
    """Return R of every valid variant; with alpha 0 the reference is not asked."""
    texts = [(row.variant, row.preferred, row.dispreferred) for row in valid]
    by_defender = scorer.logps(defender, texts)
    by_reference: Sequence[PairLogps | None] = [None] * len(valid)
    if config.scoring.alpha > 0:
        by_reference = scorer.logps(reference, texts)
    scored = []
    for row, mine, other in zip(valid, by_defender, by_reference, strict=True):
        value = direct_harmfulness(
            mine.preferred,
            mine.dispreferred,
            None if other is None else other.preferred,
            None if other is None else other.dispreferred,
            alpha=config.scoring.alpha,
            token_counts=mine.token_counts if config.scoring.length_normalize else None,
        )
        scored.append(ScoredVariant(row, value, mine, other))
    return scored


def _by_prompt(scored: Sequence[ScoredVariant]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for variant in scored:
        found.setdefault(variant.row.prompt_id, {})[variant.row.variant_index] = variant.harmfulness
    return found


def _attacker_pairs(
    config: ScoreConfig, selections: Sequence[tuple[list[VariantRow], Selection]]
) -> Iterator[TrainingPair]:
    """Yield what worked against what did not, and against what was no attack: a copy, a refusal, drift."""
    template = template_of(config.settings.template)
    for variants, selection in selections:
        if selection.chosen is None:
            continue
        instruction = template.instruction(variants[0].prompt)
        for other in (selection.rejected, selection.invalid):
            if other is not None and other.output != selection.chosen.output:
                yield TrainingPair(instruction, selection.chosen.output, other.output, "attacker")


def _defender_pairs(
    context: StageContext,
    config: ScoreConfig,
    table: AttackTable,
    selections: Sequence[tuple[list[VariantRow], Selection]],
) -> list[TrainingPair]:
    chosen = [selection.chosen for _, selection in selections if selection.chosen is not None]
    pairs = [TrainingPair(row.variant, row.preferred, row.dispreferred, "attacked") for row in chosen]
    pairs += originals([variants[0] for variants, _ in selections], config.original_share, context.config.seed)
    if config.benign_preferences is not None and config.benign_share > 0:
        rows = context.pairs(config.benign_preferences).rows
        count = round(config.benign_share * table.round_prompts)
        for row in benign_rows(rows, count, context.config.shard, context.config.seed):
            pairs.append(TrainingPair(row.prompt, row.preferred, row.dispreferred, "benign"))
    return pairs


def _texts(pairs: Sequence[TrainingPair]) -> list[tuple[str, str, str]]:
    return [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs]


def _write_pairs(context: StageContext, role: str, pairs: Sequence[TrainingPair], logps: Sequence[PairLogps]) -> None:
    columns = {
        "prompt": pa.array([pair.prompt for pair in pairs], pa.string()),
        "chosen": pa.array([pair.chosen for pair in pairs], pa.string()),
        "rejected": pa.array([pair.rejected for pair in pairs], pa.string()),
        "ref_chosen_logps": pa.array([value.preferred for value in logps], pa.float64()),
        "ref_rejected_logps": pa.array([value.dispreferred for value in logps], pa.float64()),
        "source": pa.array([pair.source for pair in pairs], pa.string()),
    }
    pq.write_table(pa.table(columns), context.folder / f"{role}-pairs.parquet")


def _write_scores(context: StageContext, scored: Sequence[ScoredVariant]) -> None:
    references = [variant.reference for variant in scored]
    columns = {
        "prompt_id": pa.array([variant.row.prompt_id for variant in scored], pa.string()),
        "variant_index": pa.array([variant.row.variant_index for variant in scored], pa.int32()),
        "direct_harmfulness": pa.array([variant.harmfulness for variant in scored], pa.float64()),
        "defender_logp_preferred": pa.array([v.defender.preferred for v in scored], pa.float64()),
        "defender_logp_dispreferred": pa.array([v.defender.dispreferred for v in scored], pa.float64()),
        "reference_logp_preferred": pa.array([r and r.preferred for r in references], pa.float64()),
        "reference_logp_dispreferred": pa.array([r and r.dispreferred for r in references], pa.float64()),
    }
    pq.write_table(pa.table(columns), context.folder / "scores.parquet")


def _sums(
    scored: Sequence[ScoredVariant],
    selections: Sequence[tuple[list[VariantRow], Selection]],
    attacker_pairs: Sequence[TrainingPair],
    defender_pairs: Sequence[TrainingPair],
    by_prompt: dict[str, dict[int, float]],
) -> ScoreSums:
    chosen = [selection.chosen for _, selection in selections if selection.chosen is not None]
    pairs = Counter(pair.source for pair in [*attacker_pairs, *defender_pairs])
    return ScoreSums(
        scored=len(scored),
        direct_harmfulness=MeanSums.of(variant.harmfulness for variant in scored),
        selected=MeanSums.of(by_prompt[row.prompt_id][row.variant_index] for row in chosen),
        pairs=dict(sorted(pairs.items())),
        dropped=dict(sorted(Counter(s.dropped for _, s in selections if s.dropped is not None).items())),
    )
