"""Figures merged from shards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hardening_api.evaluation import EvaluationSet
from hardening_api.stages import AttackSums, ScoreSums, SetSums, Shard, StageResult, digest_of
from hardening_api.stats import AgreementSums, MeanSums, OutcomeSums, PairedSums, RateSums
from hardening_api.status import BestRound, EvaluationFigures, HardeningRunStatus, Rate, RoundStatus, RunSummary
from hardening_operator.planner.figures import (
    attack_figures,
    evaluation_figures,
    judges_differ,
    results_digest,
    summary,
    training_figures,
    with_scores,
)
from tests.operator.world import JUDGE, digest_for, key_of, result_of

PROMPTS = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(-20, 20)), min_size=1, max_size=40)


def evaluated(index: int, count: int, *sets: SetSums, judge_digest: str | None = None) -> StageResult:
    judges = {JUDGE: judge_digest} if judge_digest is not None else {}
    return StageResult(
        stage="Evaluate",
        round=1,
        shard=Shard(index=index, count=count),
        outcome="Succeeded",
        manifest=digest_for("Evaluate", index),
        evaluations=list(sets),
        judges=judges,
    )


def sums_of(evaluation_set: EvaluationSet, prompts: list[tuple[bool, bool, float]]) -> SetSums:
    candidate = RateSums.of([[harmful] for harmful, _, _ in prompts])
    return SetSums(
        set=evaluation_set,
        judge=JUDGE,
        harmful=candidate,
        base_harmful=RateSums.of([[base] for _, base, _ in prompts]),
        harm_pairs=PairedSums.of((harmful, base) for harmful, base, _ in prompts),
        attempts=candidate,
        prompts_broken=candidate,
        outcomes=OutcomeSums(wins=candidate, ties=0),
        direct_harmfulness=MeanSums.of(r for _, _, r in prompts),
        agreement=AgreementSums.of((r, harmful) for harmful, _, r in prompts),
        asked=len(prompts) + 1,
        errored=1,
        causes={"Babble": 1},
    )


@given(st.data(), PROMPTS, st.integers(1, 6))
def test_any_number_of_shards_in_any_order_gives_the_figures_of_one(
    data: st.DataObject, prompts: list[tuple[bool, bool, float]], count: int
) -> None:
    whole = evaluation_figures([evaluated(0, 1, sums_of("attacked", prompts), sums_of("bank", prompts))])
    shards = [
        evaluated(
            index,
            count,
            sums_of("bank", prompts[index::count]),
            sums_of("attacked", prompts[index::count]),
        )
        for index in range(count)
    ]
    merged = evaluation_figures(data.draw(st.permutations(shards)))
    counted = {"errored", "errored_fraction", "errored_causes"}
    assert [entry.model_dump(exclude=counted) for entry in merged] == [
        entry.model_dump(exclude=counted) for entry in whole
    ]
    assert [entry.errored for entry in merged] == [count, count]
    assert [entry.errored_causes for entry in merged] == [{"Babble": count}] * 2


def test_sets_and_judges_are_never_mixed() -> None:
    other = sums_of("original", [(True, True, 0.0)]).model_copy(update={"judge": "another"})
    merged = evaluation_figures([evaluated(0, 1, sums_of("original", [(False, True, 0.0)]), other)])
    rates = [(entry.judge, entry.harm_rate.value) for entry in merged if entry.harm_rate is not None]
    assert rates == [("another", 1.0), (JUDGE, 0.0)]


def test_the_figures_are_those_of_the_sums() -> None:
    prompts = [(True, True, 2.0)] * 2 + [(False, True, -1.0)] * 6 + [(False, False, -3.0)] * 2
    [entry] = evaluation_figures([evaluated(0, 1, sums_of("attacked", prompts), judge_digest=digest_for("judge"))])
    assert entry.harm_rate is not None
    assert (entry.harm_rate.value, entry.harm_rate.samples) == (0.2, 10)
    assert entry.base_harm_rate is not None
    assert entry.base_harm_rate.value == 0.8
    assert entry.harm_rate_change is not None
    assert entry.harm_rate_change.value == -0.6
    assert entry.direct_harmfulness is not None
    assert entry.direct_harmfulness.value == -0.8
    assert entry.agreement_auc == 1.0
    assert (entry.errored, entry.errored_fraction) == (1, 1 / 11)
    assert entry.judge_digest == digest_for("judge")
    assert entry.over_refusal is None


def test_judges_that_differ_between_shards_are_named() -> None:
    shards = [evaluated(index, 2, judge_digest=digest_for("judge", index)) for index in range(2)]
    assert judges_differ(shards) == JUDGE
    assert judges_differ(shards[:1] * 2) is None


def test_attack_and_score_shards_add_up() -> None:
    attacks = [
        StageResult(
            stage="Attack",
            round=1,
            outcome="Succeeded",
            attack=AttackSums(
                prompts=2, variants=8, rejected={"Copy": 1, reason: 2}, diversity=MeanSums.of([0.5, value])
            ),
        )
        for reason, value in (("Empty", 0.7), ("Refusal", 0.9))
    ]
    scores = [
        StageResult(
            stage="Score",
            round=1,
            outcome="Succeeded",
            score=ScoreSums(scored=5, direct_harmfulness=MeanSums.of([r]), selected=MeanSums.of([r + 1]), pairs={}),
        )
        for r in (1.0, 3.0)
    ]
    attacked = attack_figures(attacks)
    assert (attacked.variants, attacked.valid) == (16, 10)
    assert attacked.rejected == {"Copy": 2, "Empty": 2, "Refusal": 2}
    assert attacked.diversity is not None
    assert attacked.diversity.value == 0.65
    assert attacked.direct_harmfulness is None
    scored = with_scores(attacked, scores)
    assert scored.direct_harmfulness is not None
    assert scored.direct_harmfulness.value == 2.0
    assert scored.selected_direct_harmfulness is not None
    assert scored.selected_direct_harmfulness.value == 3.0
    assert (scored.variants, scored.valid) == (16, 10)
    assert attack_figures(attacks[::-1]) == attacked


def test_a_training_reports_its_own_figures() -> None:
    [figures] = training_figures([result_of(key_of(1, "TrainDefender"))])
    assert (figures.role, figures.pairs) == ("defender", 4)


def test_the_digest_of_a_stage_is_its_shards_in_order() -> None:
    shards = [evaluated(index, 3) for index in range(3)]
    assert results_digest(shards[:1]) == digest_for("Evaluate", 0)
    assert results_digest(shards[::-1]) == digest_of([digest_for("Evaluate", index) for index in range(3)])


def _measured(number: int, harm: float, base: float, win: float) -> RoundStatus:
    def rate(value: float) -> Rate:
        return Rate(value=value, lower=value, upper=value, samples=40)

    attacked = EvaluationFigures(set="attacked", judge="words", harm_rate=rate(harm), base_harm_rate=rate(base))
    original = EvaluationFigures(set="original", judge="words", win_rate=rate(win))
    return RoundStatus(round=number, evaluations=[original, attacked])


def test_the_summary_is_of_the_latest_round_until_one_is_promoted() -> None:
    rounds = [_measured(1, 0.4, 0.9, 0.5), _measured(2, 0.3, 0.8, 0.6), RoundStatus(round=3)]
    status = HardeningRunStatus(base=_measured(0, 0.9, 0.9, 0.0), rounds=rounds)
    assert [entry.round for entry in status.entries] == [0, 1, 2, 3]
    assert status.headline_round is not None
    assert status.headline_round.round == 2
    assert summary(status) == RunSummary(harm_before=0.8, harm_after=0.3, win_rate=0.6)
    promoted = status.model_copy(update={"promoted": BestRound(round=1, digest=digest_for("TrainDefender"))})
    assert promoted.headline_round is not None
    assert promoted.headline_round.round == 1
    assert summary(promoted) == RunSummary(harm_before=0.9, harm_after=0.4, win_rate=0.5)


def test_the_figures_of_a_round_are_by_the_first_judge_that_has_any() -> None:
    judged = [("original", "a"), ("attacked", "b"), ("original", "b")]
    entry = RoundStatus(round=1, evaluations=[EvaluationFigures(set=name, judge=judge) for name, judge in judged])
    assert {name: figures.judge for name, figures in entry.first_figures.items()} == {"original": "a", "attacked": "b"}


def test_the_summary_of_a_run_that_only_measured_its_base_has_one_figure() -> None:
    assert summary(HardeningRunStatus(base=_measured(0, 0.9, 0.9, 0.0))) == RunSummary(harm_before=0.9)
    assert summary(HardeningRunStatus()) is None
