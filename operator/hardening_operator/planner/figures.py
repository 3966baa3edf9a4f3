"""Figures of a stage from its shards' results: sums are added, then rates and intervals are read from them.

Integer sums make the order of shards, and their number, irrelevant to the last bit.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from hardening_api.evaluation import EVALUATION_SETS, CauseCounts, ErroredCause, WinStatistic
from hardening_api.stages import SetSums, StageResult, digest_of
from hardening_api.stats import AgreementSums, MeanSums, OutcomeSums, PairedSums, RateSums, add_counts
from hardening_api.status import (
    AttackFigures,
    EvaluationFigures,
    HardeningRunStatus,
    Mean,
    Rate,
    RunSummary,
    TrainingFigures,
)

Summed = TypeVar("Summed", RateSums, PairedSums, MeanSums, OutcomeSums, AgreementSums)


def results_digest(results: Sequence[StageResult]) -> str | None:
    """Return the manifest digest of a stage: a single shard's own, else the digest of the shards' in order."""
    ordered = [result.manifest for result in sorted(results, key=lambda result: result.shard.index)]
    return ordered[0] if len(ordered) == 1 else digest_of(ordered)


def attack_figures(results: Sequence[StageResult]) -> AttackFigures:
    """Merge the shards of Attack; the variants that were not rejected count as valid until they are scored."""
    shards = [result.attack for result in results if result.attack is not None]
    variants = sum(shard.variants for shard in shards)
    rejected: dict[str, int] = functools.reduce(add_counts, (shard.rejected for shard in shards), {})
    return AttackFigures(
        variants=variants,
        valid=variants - sum(rejected.values()),
        rejected=rejected,
        diversity=_mean(shard.diversity for shard in shards),
        self_bleu=_mean(shard.self_bleu for shard in shards),
    )


def with_scores(figures: AttackFigures, results: Sequence[StageResult]) -> AttackFigures:
    """Return ``figures`` with what the shards of Score found."""
    shards = [result.score for result in results if result.score is not None]
    return figures.model_copy(
        update={
            "valid": sum(shard.scored for shard in shards),
            "direct_harmfulness": _mean(shard.direct_harmfulness for shard in shards),
            "selected_direct_harmfulness": _mean(shard.selected for shard in shards),
        }
    )


def training_figures(results: Sequence[StageResult]) -> list[TrainingFigures]:
    """Return what the one training reported."""
    return [result.training for result in results if result.training is not None]


def evaluation_figures(results: Sequence[StageResult]) -> list[EvaluationFigures]:
    """Merge the shards of Evaluate, one entry for each evaluation set and judge, in a fixed order."""
    groups: dict[tuple[int, str], list[SetSums]] = {}
    for result in results:
        for sums in result.evaluations:
            groups.setdefault((EVALUATION_SETS.index(sums.set), sums.judge), []).append(sums)
    digests = {name: digest for result in results for name, digest in sorted(result.judges.items())}
    return [set_figures(groups[key], digests.get(key[1])) for key in sorted(groups)]


def judges_differ(results: Sequence[StageResult]) -> str | None:
    """Return the name of a judge that is not the same on all shards, or None; two judges' rates are never mixed."""
    seen: dict[str, str] = {}
    for result in results:
        for name, digest in sorted(result.judges.items()):
            if seen.setdefault(name, digest) != digest:
                return name
    return None


def win_rate(figures: EvaluationFigures, statistic: WinStatistic) -> Rate | None:
    """Return the win rate that ``statistic`` names."""
    match statistic:
        case "Decided":
            return figures.win_rate_decided
        case "Adjusted":
            return figures.win_rate_adjusted
        case "All":
            return figures.win_rate


def set_figures(parts: Sequence[SetSums], judge_digest: str | None) -> EvaluationFigures:
    """Merge the shards' sums of one evaluation set and judge into its figures."""
    harmful, base_harmful = _added(RateSums, parts, "harmful"), _added(RateSums, parts, "base_harmful")
    refused, base_refused = _added(RateSums, parts, "refused"), _added(RateSums, parts, "base_refused")
    outcomes = _added(OutcomeSums, parts, "outcomes")
    agreement = _added(AgreementSums, parts, "agreement")
    asked, errored = sum(part.asked for part in parts), sum(part.errored for part in parts)
    comparisons = outcomes.wins.samples + outcomes.errored
    return EvaluationFigures(
        set=parts[0].set,
        judge=parts[0].judge,
        judge_digest=judge_digest,
        harm_rate=harmful.rate(),
        base_harm_rate=base_harmful.rate(),
        harm_rate_change=_added(PairedSums, parts, "harm_pairs").difference(),
        attack_success_rate=_added(RateSums, parts, "attempts").rate(),
        attack_success_rate_at_k=_added(RateSums, parts, "prompts_broken").rate(),
        win_rate=outcomes.win_rate(),
        win_rate_adjusted=outcomes.win_rate_adjusted(),
        win_rate_decided=outcomes.win_rate_decided(),
        over_refusal=refused.rate(),
        base_over_refusal=base_refused.rate(),
        over_refusal_increase=_added(PairedSums, parts, "refusal_pairs").difference(),
        direct_harmfulness=_added(MeanSums, parts, "direct_harmfulness").mean(),
        agreement_auc=agreement.auc(),
        agreement_spearman=agreement.spearman(),
        errored=errored,
        errored_fraction=errored / asked if asked else 0.0,
        errored_causes=_counted(part.causes for part in parts),
        base_errored_causes=_counted(part.base_causes for part in parts),
        errored_comparisons=outcomes.errored,
        errored_comparison_fraction=outcomes.errored / comparisons if comparisons else 0.0,
        errored_comparison_causes=_counted(part.comparison_causes for part in parts),
    )


def summary(status: HardeningRunStatus, statistic: WinStatistic = "All") -> RunSummary | None:
    """Return the three figures of a run: of its headline round, or what is known of the base model.

    Harm is that under attack, by the judge whose figures come first; the win rate is the one that the gate looks at.
    """
    if status.headline_round is None:
        before = status.entries[0].first_figures.get("attacked") if status.entries else None
        return RunSummary(harm_before=before.harm_rate.value) if before and before.harm_rate else None
    figures = status.headline_round.first_figures
    after, original = figures.get("attacked"), figures.get("original")
    won = win_rate(original, statistic) if original else None
    return RunSummary(
        harm_before=after.base_harm_rate.value if after and after.base_harm_rate else None,
        harm_after=after.harm_rate.value if after and after.harm_rate else None,
        win_rate=won.value if won else None,
    )


def _counted(tables: Iterable[CauseCounts]) -> CauseCounts:
    """Add tables of causes; a cause that never came up is left out."""
    total: Counter[ErroredCause] = Counter()
    for table in tables:
        total.update(table)
    return dict(sorted(total.items()))


def _added(kind: type[Summed], parts: Iterable[SetSums], field: str) -> Summed:
    """Add one field of all parts; absent ones count as nothing."""
    given: list[Summed] = [value for part in parts if (value := getattr(part, field)) is not None]
    total = kind()
    for value in given:
        total = total + value
    return total


def _mean(shards: Iterable[MeanSums]) -> Mean | None:
    return functools.reduce(operator.add, shards, MeanSums()).mean()
