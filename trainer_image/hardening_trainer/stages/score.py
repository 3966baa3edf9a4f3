"""Score: R of every valid variant, the selection, and the training pairs of both roles with their reference log-probs.

waits for     Attack of the same shard
unblocks      TrainAttacker and TrainDefender, once every shard is scored
leaves        scores.parquet, attacker-pairs.parquet, defender-pairs.parquet

defender pass: all valid variants -> R -> selection -> reference pass: what was selected, originals, benign
                                                    -> attacker's reference pass: chosen and rejected outputs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from hardening_api.stages import ScoreConfig, ScoreSums, StageResult
from hardening_api.stats import MeanSums
from hardening_trainer.attack.pair_selection import Selected, companions, select, times
from hardening_trainer.attack.sampler import noise_key
from hardening_trainer.attack.templates import TEMPLATES
from hardening_trainer.data import Pair
from hardening_trainer.inference.logprobs import direct_harmfulness
from hardening_trainer.inference.scoring import AnswerPair, PairLogProbs, PairScorer
from hardening_trainer.models import ResolvedModel
from hardening_trainer.models.in_memory import ModelInMemory
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.stages.attack import TABLE
from hardening_trainer.storage.resume_cache import ResumeCache
from hardening_trainer.storage.tables import PAIRS, SCORES, VARIANTS, read_table, write_table

Row = dict[str, Any]
Key = tuple[int, int]
"""(position of the prompt, index of the variant)."""


@dataclass(frozen=True)
class ScoringModels:
    """The three models of the stage; equal digests are one model."""

    defender: ResolvedModel
    reference: ResolvedModel
    attacker_reference: ResolvedModel


def run(context: StageContext) -> StageResult:
    """Score, select and write the pairs; what an interrupted attempt has scored is not scored again."""
    config = context.section(ScoreConfig)
    rows = read_table(context.inputs.stage(config.attack) / TABLE, VARIANTS)
    models = ScoringModels(
        *(context.model(one) for one in (config.defender, config.reference, config.attacker_reference))
    )
    with ModelInMemory() as in_memory:
        scorer = _Scorer(context, config, models, rows, in_memory)
        scores = scorer.score_variants()
        selected, dropped = _select(rows, {key: row["direct_harmfulness"] for key, row in scores.items()}, config)
        defender_pairs = scorer.defender_pairs(selected, scores)
        attacker_pairs = scorer.attacker_pairs(selected)
    write_table(context.folder / "scores.parquet", list(scores.values()), SCORES)
    write_table(context.folder / "attacker-pairs.parquet", attacker_pairs, PAIRS)
    write_table(context.folder / "defender-pairs.parquet", defender_pairs, PAIRS)
    sums = ScoreSums(
        scored=len(scores),
        direct_harmfulness=MeanSums.of([row["direct_harmfulness"] for row in scores.values()]),
        selected=MeanSums.of([scores[_key(one.chosen)]["direct_harmfulness"] for one in selected]),
        pairs=dict(sorted(Counter(pair["source"] for pair in (*attacker_pairs, *defender_pairs)).items())),
        dropped=dict(sorted(dropped.items())),
    )
    return StageResult(
        stage=context.config.stage,
        round=context.config.round,
        shard=context.config.shard,
        outcome="Succeeded",
        score=sums,
    )


def _key(row: Row) -> Key:
    return row["position"], row["variant_index"]


def _select(rows: Sequence[Row], scores: dict[Key, float], config: ScoreConfig) -> tuple[list[Selected], Counter[str]]:
    """Choose the pair of every prompt; count those without one by reason."""
    selected: list[Selected] = []
    dropped: Counter[str] = Counter()
    for _, group in groupby(rows, key=lambda row: row["position"]):
        variants = list(group)
        own = {row["variant_index"]: scores[_key(row)] for row in variants if _key(row) in scores}
        found = select(variants, own, config.scoring.epsilon, config.scoring.pairs_per_prompt)
        if isinstance(found, Selected):
            selected.append(found)
        else:
            dropped[found] += 1
    return selected, dropped


class _Scorer:
    """The passes of the stage over its three models."""

    def __init__(
        self,
        context: StageContext,
        config: ScoreConfig,
        models: ScoringModels,
        rows: Sequence[Row],
        in_memory: ModelInMemory,
    ) -> None:
        self._context, self._config, self._models = context, config, models
        records = ResumeCache(context.partial, context.keep_partial).records("score", PairLogProbs)
        self._scorer = PairScorer(in_memory, records, context.advance)
        self._valid = [row for row in rows if row["status"] == "Valid"]
        self._same = models.defender.digest == models.reference.digest
        benign = context.pairs(config.benign_preferences).rows if config.benign_preferences else []
        self._benign: list[Pair] = sorted(
            benign, key=lambda row: (noise_key(f"{context.config.seed}/{row.id}"), row.id)
        )
        prompts = len({row["position"] for row in rows})
        companions_each = config.original_share + (config.benign_share if benign else 0)
        with_reference = len(self._valid) if self._needs_all_references else 0 if self._same else prompts
        context.progress.total(len(self._valid) + with_reference + round(prompts * (1 + companions_each)))

    @property
    def _needs_all_references(self) -> bool:
        return self._config.scoring.alpha > 0 and not self._same

    def score_variants(self) -> dict[Key, Row]:
        """R and log-probabilities of every valid variant."""
        items = [AnswerPair(row["variant"], row["preferred"], row["dispreferred"]) for row in self._valid]
        of_defender = self._scorer.score(self._models.defender, items)
        of_reference: Sequence[PairLogProbs | None] = [None] * len(items)
        if self._same:
            of_reference = of_defender
        elif self._needs_all_references:
            of_reference = self._scorer.score(self._models.reference, items)
        return {
            _key(row): self._score_row(row, defender, reference)
            for row, defender, reference in zip(self._valid, of_defender, of_reference, strict=True)
        }

    def _score_row(self, row: Row, defender: PairLogProbs, reference: PairLogProbs | None) -> Row:
        preferred, dispreferred = (reference.first, reference.second) if reference else (None, None)
        scoring = self._config.scoring
        harmfulness = direct_harmfulness(
            defender.first,
            defender.second,
            preferred,
            dispreferred,
            alpha=scoring.alpha,
            token_counts=defender.answer_tokens if scoring.length_normalize else None,
        )
        return {
            "prompt_id": row["prompt_id"],
            "position": row["position"],
            "variant_index": row["variant_index"],
            "direct_harmfulness": harmfulness,
            "defender_logp_preferred": defender.first,
            "defender_logp_dispreferred": defender.second,
            "reference_logp_preferred": preferred,
            "reference_logp_dispreferred": dispreferred,
        }

    def defender_pairs(self, selected: Sequence[Selected], scores: dict[Key, Row]) -> list[Row]:
        """Attacked, original and benign pairs, with the reference's log-probabilities (noted in `scores` as well)."""
        attacked = [
            AnswerPair(one.chosen["variant"], one.chosen["preferred"], one.chosen["dispreferred"]) for one in selected
        ]
        missing = [index for index, one in enumerate(selected) if scores[_key(one.chosen)][_REFERENCE[0]] is None]
        found = self._scorer.score(self._models.reference, [attacked[index] for index in missing])
        for index, scored in zip(missing, found, strict=True):
            scores[_key(selected[index].chosen)].update(zip(_REFERENCE, (scored.first, scored.second), strict=True))
        chosen = [scores[_key(one.chosen)] for one in selected]
        pairs = [
            _pair(item, row[_REFERENCE[0]], row[_REFERENCE[1]], "attacked")
            for item, row in zip(attacked, chosen, strict=True)
        ]
        others = [*self._originals(selected), *self._benign_pairs(selected)]
        scored_others = self._scorer.score(self._models.reference, [item for item, _ in others])
        for (item, source), scored in zip(others, scored_others, strict=True):
            pairs.append(_pair(item, scored.first, scored.second, source))
        return pairs

    def _originals(self, selected: Sequence[Selected]) -> list[tuple[AnswerPair, str]]:
        return [
            (AnswerPair(row["prompt"], row["preferred"], row["dispreferred"]), "original")
            for row in (one.chosen for one in selected)
            for _ in range(times(row["position"], self._config.original_share))
        ]

    def _benign_pairs(self, selected: Sequence[Selected]) -> list[tuple[AnswerPair, str]]:
        found = []
        for one in selected:
            for index in companions(one.chosen["position"], self._config.benign_share, len(self._benign)):
                pair = self._benign[index]
                prompt = self._behind_lead_in(pair, one.chosen)
                found.append((AnswerPair(prompt, pair.preferred, pair.dispreferred), "benign"))
        return found

    def _behind_lead_in(self, pair: Pair, chosen: Row) -> str:
        """Return the benign prompt, a share of them behind the lead-in that was chosen for a harmful prompt."""
        template = TEMPLATES[self._config.settings.template]
        drawn = noise_key(f"{self._context.config.seed}/lead-in/{pair.id}/{chosen['prompt_id']}") / 2**64
        if not template.keeps_request or drawn >= self._config.benign_attacked_share:
            return pair.prompt
        return template.compose(pair.prompt, chosen["written"])

    def attacker_pairs(self, selected: Sequence[Selected]) -> list[Row]:
        """The attacker's own words, chosen over rejected, with its reference's log-probabilities."""
        template = TEMPLATES[self._config.settings.template]
        items = [
            AnswerPair(template.fill(one.chosen["prompt"]), chosen["written"], rejected["written"])
            for one in selected
            for chosen, rejected in one.pairs
        ]
        scored = self._scorer.score(self._models.attacker_reference, items)
        return [_pair(item, one.first, one.second, "attacker") for item, one in zip(items, scored, strict=True)]


_REFERENCE = ("reference_logp_preferred", "reference_logp_dispreferred")


def _pair(item: AnswerPair, chosen: float, rejected: float, source: str) -> Row:
    return {
        "prompt": item.prompt,
        "chosen": item.first,
        "rejected": item.second,
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
        "source": source,
    }
