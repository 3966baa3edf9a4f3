"""`diff` and `report`: runs of the cluster read from their status alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardening_api.stats import newcombe
from hardening_api.status import Rate
from hardening_operator.cli.diff import comparisons, spec_differences
from tests.cli import sample
from tests.cli.cluster import FakeCluster, kubectl_hardening


def rate(successes: int, samples: int) -> Rate:
    from hardening_api.stats import wilson

    lower, upper = wilson(successes, samples)
    return Rate(value=successes / samples, lower=lower, upper=upper, samples=samples)


@pytest.mark.parametrize(
    ("one", "other", "lower", "upper"),
    [  # Newcombe (1998), table II, method 10; the first rate is taken from the second there
        ((48, 80), (56, 70), -0.3339, -0.0524),
        ((3, 10), (9, 10), -0.8090, -0.1705),
        ((0, 10), (0, 10), -0.2775, 0.2775),
    ],
)
def test_the_interval_of_a_difference_is_newcombes(
    one: tuple[int, int], other: tuple[int, int], lower: float, upper: float
) -> None:
    found = newcombe(rate(*one), rate(*other))
    assert (found.lower, found.upper) == pytest.approx((lower, upper), abs=5e-5)


def test_a_difference_is_beyond_when_its_interval_leaves_zero_out() -> None:
    one = sample.status(rounds=[sample.first_round(evaluations=sample.figures(0.5, 0.7))])
    other = sample.status(rounds=[sample.first_round(evaluations=sample.figures(0.1, 0.72))])
    found = {(row.measure, row.set): row.beyond for row in comparisons(one, other)}
    assert found["harm rate", "original"] is True
    assert found["win rate", "original"] is False


def test_a_figure_only_one_run_has_is_shown_without_a_verdict() -> None:
    other = sample.status(rounds=[])
    assert {row.beyond for row in comparisons(sample.status(), other)} == {None}
    assert list(comparisons(other, other)) == []


def test_figures_of_two_judges_are_not_compared() -> None:
    figures = [one.model_copy(update={"judge": "gpt"}) for one in sample.figures(0.1, 0.7)]
    other = sample.status(rounds=[sample.first_round(evaluations=figures)])
    assert {row.beyond for row in comparisons(sample.status(), other)} == {None}


def test_fields_that_differ_are_named_by_path() -> None:
    one = {"rounds": 3, "judges": [{"name": "a"}, {"name": "b"}], "same": {"x": 1}}
    other = {"rounds": 3, "judges": [{"name": "a"}, {"name": "c"}], "same": {"x": 1}, "beta": 0.1}
    assert list(spec_differences(one, other)) == [("spec.judges[1].name", "b", "c"), ("spec.beta", None, 0.1)]


def test_two_runs_are_shown_side_by_side_in_80_columns(cluster: FakeCluster, put_run: Any) -> None:
    put_run("one", sample.status(), rounds=3)
    figures = sample.figures(0.6, 0.7, 0.4)
    put_run("two", sample.status(rounds=[sample.first_round(evaluations=figures)]), rounds=5)
    shown = kubectl_hardening("diff", "one", "two")
    assert shown.exit_code == 0, shown.output
    assert ["spec.rounds", "3", "5"] in [line.split() for line in shown.stdout.splitlines()]
    harm = next(line for line in shown.stdout.splitlines() if "harm rate, original (guard)" in line)
    assert "0.10 [0.03, 0.18]" in harm
    assert "0.60 [0.53, 0.68]" in harm
    assert harm.split()[-1] == "yes"
    assert "…" not in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_two_equal_runs_have_the_same_spec(cluster: FakeCluster, put_run: Any) -> None:
    put_run("one", sample.status(rounds=[]))
    put_run("two", sample.status(rounds=[]))
    shown = kubectl_hardening("diff", "one", "two").stdout
    assert shown.splitlines()[:2] == ["The specs are the same.", "Neither run has figures yet."]


def test_a_report_is_written_from_the_resource(
    cluster: FakeCluster, put_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put_run(status=sample.status(phase="Promoted"))
    shown = kubectl_hardening("report", "small")
    assert (shown.exit_code, shown.stdout) == (0, "Wrote small.html\n")
    page = (tmp_path / "small.html").read_text()
    assert "<svg" in page
    assert "0.10 [0.03, 0.18]" in page
    assert kubectl_hardening("report", "small", "-o", str(tmp_path / "r" / "p.html")).exit_code == 0
    assert (tmp_path / "r" / "p.html").read_text() == page


def test_a_report_of_a_resource_has_no_text_to_include(cluster: FakeCluster, put_run: Any) -> None:
    put_run(status=sample.status())
    shown = kubectl_hardening("report", "small", "--include-text")
    assert (shown.exit_code, "hold no text" in shown.stderr) == (2, True)
