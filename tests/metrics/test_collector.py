"""Series from status: what is exported, that it equals the status, and that it stays within its size."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hardening_api.status import HardeningRunStatus
from hardening_operator.metrics.catalogue import COLLECTOR_METRICS, RUN_METRICS, expanded
from hardening_operator.metrics.exporter import StatusCollector, fitted, text_size
from hardening_operator.metrics.facts import RunFacts, facts_of_run_object, gpus_of_stages
from hardening_operator.metrics.run_series import DETAILED_ROUNDS, full_series, short_series, summary_series
from tests.metrics.fleet import Round, facts, healthy_fleet, many, status, troubled_fleet
from tests.operator.world import Run, spec_of

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def registry_of(runs: list[RunFacts], **options: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(StatusCollector(lambda: runs, **options))
    return registry


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {"namespace": "safety", **labels})


def test_a_figure_is_exported_with_its_interval_and_samples() -> None:
    run = facts("demo", status(NOW, [Round(harm=0.25)]))
    wanted = run.status["rounds"][0]["evaluations"][2]
    assert (wanted["set"], wanted["judge"]) == ("attacked", "refusal-pattern")
    labels = {"run": "demo", "round": "1", "subject": "candidate", "set": "attacked", "judge": "refusal-pattern"}
    for part in ("value", "lower", "upper", "samples"):
        suffix = "" if part == "value" else f"_{part}"
        assert value(registry_of([run]), f"hardening_harm_rate{suffix}", **labels) == wanted["harmRate"][part]


def test_a_promoted_round_speaks_for_the_promoted_model_too() -> None:
    registry = registry_of([healthy_fleet(NOW)[0]])
    labels = {"run": "mistral-7b", "set": "attacked", "judge": "guard"}
    assert value(registry, "hardening_harm_rate", subject="promoted", round="3", **labels) == 0.02
    assert value(registry, "hardening_harm_rate", subject="candidate", round="3", **labels) == 0.02
    assert value(registry, "hardening_harm_rate", subject="promoted", round="2", **labels) is None
    assert value(registry, "hardening_run_harm_rate", run="mistral-7b", subject="promoted") == 0.02


def test_the_base_has_round_0_and_the_prompts_that_are_new_in_each_round() -> None:
    registry = registry_of([healthy_fleet(NOW)[0]])
    labels = {"run": "mistral-7b", "subject": "base", "judge": "guard"}
    assert value(registry, "hardening_harm_rate", round="0", set="original", **labels) == 0.9
    assert value(registry, "hardening_harm_rate", round="2", set="attacked", **labels) == 0.9
    assert value(registry, "hardening_harm_rate", round="2", set="original", **labels) is None


def test_totals_add_up_over_rounds_and_tell_failures_from_disruptions() -> None:
    rounds = [Round(failures=2), Round(disruptions=1, errored=0.1)]
    registry = registry_of([facts("demo", status(NOW, rounds))])
    assert value(registry, "hardening_stage_retries_total", run="demo", stage="Attack", reason="Failure") == 2
    assert value(registry, "hardening_stage_retries_total", run="demo", stage="Attack", reason="Disruption") == 1
    assert value(registry, "hardening_gpu_seconds_total", run="demo", stage="TrainDefender") == 2 * 600 * 8
    assert value(registry, "hardening_tokens_total", run="demo", stage="Score") == 2000
    verdicts = {
        verdict: value(registry, "hardening_judged_total", run="demo", judge="guard", verdict=verdict)
        for verdict in ("harmful", "safe", "refused", "answered", "errored")
    }
    assert verdicts == {"harmful": 2 * 180 + 6 * 20, "safe": 2 * 20 + 6 * 180, "refused": 24, "answered": 576,
                        "errored": 80}  # fmt: skip
    assert value(registry, "hardening_judge_errored_total", run="demo", judge="guard", cause="NoAnswer") == 80


def test_a_waiting_candidate_shows_since_when_and_an_answered_one_does_not() -> None:
    waiting = status(NOW, [Round()], "AwaitingApproval", "AwaitingApproval")
    name = "hardening_run_approval_requested_timestamp_seconds"
    assert value(registry_of([facts("demo", waiting)]), name, run="demo") == NOW.timestamp()
    answered = waiting.model_copy(update={"phase": "Promoting"})
    assert value(registry_of([facts("demo", answered)]), name, run="demo") is None


def test_what_the_planner_decides_is_what_is_exported() -> None:
    world = Run(spec_of())
    world.run_out()
    registry = registry_of([facts("demo", world.status)])
    assert value(registry, "hardening_run_phase", run="demo", phase="Promoted", reason="Promoted") == 1
    won = world.status.rounds[0].evaluations[0].win_rate
    assert won is not None
    labels = {"run": "demo", "round": "1", "subject": "promoted", "set": "original", "judge": "refusal-pattern"}
    assert value(registry, "hardening_win_rate", **labels) == won.value
    assert value(registry, "hardening_gate_verdict", run="demo", round="1", gate="winRate", verdict="Pass") == 1
    ended = world.status.completion_time
    assert ended is not None
    moment = datetime.fromisoformat(ended).timestamp()
    assert value(registry, "hardening_run_completion_timestamp_seconds", run="demo") == moment
    assert value(registry, "hardening_run_last_activity_timestamp_seconds", run="demo") == moment


@pytest.mark.parametrize("given", [HardeningRunStatus(), status(NOW, [])])
def test_a_run_that_has_measured_nothing_is_exported_with_its_phase(given: HardeningRunStatus) -> None:
    found = {sample.name for sample in full_series(facts("demo", given))}
    assert {"hardening_run_info", "hardening_run_phase"} <= found
    assert "hardening_run_harm_rate" not in found


def test_an_object_without_a_status_is_pending() -> None:
    body = {"metadata": {"namespace": "safety", "name": "new", "uid": "u"}, "spec": {"model": {"uri": "hf://org/m"}}}
    registry = registry_of([facts_of_run_object(body)])
    assert value(registry, "hardening_run_phase", run="new", phase="Pending", reason="NotStarted") == 1


def test_a_deleted_run_is_gone_at_the_next_scrape_and_another_process_shows_the_same() -> None:
    runs = healthy_fleet(NOW)
    registry = registry_of(runs)
    before = generate_latest(registry)
    assert generate_latest(registry_of(healthy_fleet(NOW))) == before
    runs.pop(0)
    after = generate_latest(registry)
    assert b'run="mistral-7b"' in before
    assert b'run="mistral-7b"' not in after


def test_every_metric_of_the_catalogue_is_exported_and_nothing_else_and_no_series_twice() -> None:
    runs = healthy_fleet(NOW) + troubled_fleet(NOW)
    samples = [sample for run in runs for sample in full_series(run)]
    names = {sample.name for sample in samples}
    assert names == set(expanded(RUN_METRICS))
    series = Counter((sample.name, sample.labels) for sample in samples)
    assert [key for key, count in series.items() if count > 1] == []
    catalogue = expanded(RUN_METRICS)
    assert [sample for sample in samples if len(sample.labels) != len(catalogue[sample.name].labels)] == []


def test_less_detail_is_a_part_of_more_as_the_catalogue_says() -> None:
    levels = {"summary": summary_series, "short": short_series, "full": full_series}
    catalogue = expanded(RUN_METRICS)
    for run in healthy_fleet(NOW) + troubled_fleet(NOW):
        found = {level: {sample[:2]: sample.value for sample in series(run)} for level, series in levels.items()}
        assert found["summary"].items() <= found["short"].items() <= found["full"].items()
        assert {catalogue[name].detail for name, _ in found["summary"]} == {"summary"}
        assert {catalogue[name].detail for name, _ in found["short"]} <= {"summary", "short"}


def test_a_run_of_a_hundred_rounds_has_all_figures_of_the_last_ones_only() -> None:
    run = facts("long", status(NOW, [Round()] * 100))
    detailed = {s.labels[2] for s in full_series(run) if s.name == "hardening_gate_verdict"}
    assert detailed == {str(number) for number in range(101 - DETAILED_ROUNDS, 101)}
    main = {s.labels[2] for s in full_series(run) if s.name == "hardening_harm_rate" and s.labels[3] == "candidate"}
    assert main == {str(number) for number in range(1, 101)}
    assert text_size(full_series(run)) < 400_000


def test_a_full_cluster_stays_within_its_size_and_live_runs_keep_their_details() -> None:
    runs = many(1000)
    registry = registry_of(runs)
    text = generate_latest(registry)
    assert len(text) < 2 * 2**20
    counts = {kind: registry.get_sample_value("hardening_exported_runs", {"detail": kind}) for kind in
              ("full", "short", "summary", "none")}  # fmt: skip
    assert counts["none"] == 0
    assert (counts["full"] or 0) >= 10
    assert sum(count or 0 for count in counts.values()) == 1000
    live = {run.name for run in runs if run.status["phase"] == "Running"}
    assert live <= {
        sample.labels["run"]
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == "hardening_run_last_activity_timestamp_seconds"
    }


def test_the_estimated_size_is_never_less_than_the_text() -> None:
    runs = many(300)
    text = generate_latest(registry_of(runs, size_limit=10**9))
    lines = [line for line in text.splitlines(keepends=True) if b'run="' in line]
    assert sum(map(len, lines)) <= sum(text_size(full_series(run)) for run in runs)


def test_beyond_the_limit_the_runs_that_started_first_are_left_out_and_counted() -> None:
    early = facts("early", status(NOW - timedelta(days=9), [Round()], "Promoted", "Promoted"))
    late = facts("late", status(NOW, [Round()], "Promoted", "Promoted"))
    room = text_size(summary_series(late)) + 10
    assert [kind for kind, _ in fitted([early, late], room)] == ["summary", "none"]
    assert fitted([early, late], room)[0][1][0].labels[1] == "late"


def test_a_label_never_has_text_of_a_message() -> None:
    text = generate_latest(registry_of(healthy_fleet(NOW) + troubled_fleet(NOW))).decode()
    assert "in words" not in text
    labels = {label for family in text_string_to_metric_families(text) for s in family.samples for label in s.labels}
    known = {label for metric in RUN_METRICS + COLLECTOR_METRICS for label in metric.labels}
    assert labels <= known
    assert not labels & {"prompt", "prompt_id", "message", "text"}


@pytest.mark.parametrize(
    ("spec", "stage", "gpus"),
    [
        ({}, "Attack", 1),
        ({}, "TrainDefender", 1),
        ({}, "Promote", 0),
        ({"training": {"gpusPerNode": 8, "nodes": 2}}, "TrainAttacker", 16),
        ({"training": {"gpusPerNode": 0}}, "Evaluate", 0),
        ({"stages": {"attack": {"shards": 4}}}, "Score", 4),
        ({"stages": {"all": {"shards": 2}, "evaluate": {"shards": 3}}}, "Evaluate", 3),
        ({"stages": {"all": {"resources": {"limits": {"nvidia.com/gpu": "2"}}}}}, "Attack", 2),
        ({"stages": {"all": {"shards": 2}, "attack": {"resources": {"limits": {"nvidia.com/gpu": 0}}}}}, "Attack", 0),
    ],
)
def test_gpus_are_those_the_pods_of_a_stage_ask_for(spec: dict[str, object], stage: str, gpus: int) -> None:
    assert gpus_of_stages(spec)[stage] == gpus


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_finds_nothing_to_say_of_names_and_help() -> None:
    text = generate_latest(registry_of(healthy_fleet(NOW) + troubled_fleet(NOW)))
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
