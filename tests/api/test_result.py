"""A stage's result always fits a termination message, whatever it has to report."""

from hardening_api.stages import RESULT_LIMIT_BYTES, SetSums, StageResult
from hardening_api.stats import AgreementSums, MeanSums, OutcomeSums, PairedSums, RateSums


def large_result(num_judges: int, message: str | None = None) -> StageResult:
    """Four sets of 512 prompts with four variants each, under several judges."""
    clusters = [[(prompt * 7 + variant) % 3 == 0 for variant in range(4)] for prompt in range(512)]
    rates, pairs = RateSums.of(clusters), PairedSums.of((a, b) for a, b, *_ in clusters)
    agreement = AgreementSums.of((((k * 37) % 400 - 200) * 1.1, k % 3 == 0) for k in range(2048))
    evaluations = [
        SetSums(
            set=name,
            judge=f"judge-number-{judge}",
            harmful=rates,
            base_harmful=rates,
            harm_pairs=pairs,
            attempts=rates,
            prompts_broken=rates,
            outcomes=OutcomeSums(wins=rates, ties=700, errored=3),
            refused=rates,
            base_refused=rates,
            refusal_pairs=pairs,
            direct_harmfulness=MeanSums.of([1.5, -20.25, 300.125]),
            agreement=agreement if name == "attacked" and judge == 0 else None,
            asked=4096,
            errored=12,
        )
        for name in ("original", "attacked", "bank", "benign")
        for judge in range(num_judges)
    ]
    return StageResult(stage="Evaluate", round=3, outcome="Succeeded", message=message, evaluations=evaluations)


def test_a_small_result_is_plain_json() -> None:
    result = StageResult(stage="Attack", round=1, outcome="Succeeded", message="all is well")
    assert '"message":"all is well"' in result.to_message()
    assert StageResult.from_message(result.to_message()) == result


def test_four_judges_on_four_large_sets_fit_and_come_back_to_the_last_digit() -> None:
    result = large_result(num_judges=4)
    text = result.to_message()
    assert len(text.encode()) <= RESULT_LIMIT_BYTES
    assert StageResult.from_message(text) == result


def test_a_message_is_cut_before_a_figure_is() -> None:
    words = " ".join(f"{number:x}" for number in range(10**6, 10**6 + 140))
    result = large_result(num_judges=4, message=words[:1000])
    read = StageResult.from_message(result.to_message())
    assert read.evaluations == result.evaluations
