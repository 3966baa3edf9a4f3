"""Every metric, once: what the collector and the instruments export and what the glossary says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Source = Literal["run", "monitor", "collector", "operator"]
SOURCES: dict[Source, str] = {
    "run": "From the status of HardeningRuns, at every scrape",
    "monitor": "From the status of HardeningMonitors, at every scrape",
    "collector": "About the scrape itself",
    "operator": "Of the operator's process; they start at 0 with it",
}
INTERVAL = ("", "_lower", "_upper", "_samples")
VALUE_AND_LOWER = ("", "_lower")
INTERVAL_HELP = {
    "_lower": "Lower end of the 95 % interval: {}",
    "_upper": "Upper end of the 95 % interval: {}",
    "_samples": "Judged samples it rests on: {}",
}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Metric:
    """One metric, or a figure with its interval, which is one metric for each of `parts`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    source: Source = "run"
    kind: Literal["gauge", "counter", "histogram"] = "gauge"
    parts: tuple[str, ...] = ("",)
    """Suffixes of the metrics it stands for, from `INTERVAL`."""
    detail: Literal["summary", "short", "full"] = "full"
    """How far down the size limit a run must be to lose it; only for metrics of runs."""

    def part_help(self, part: str) -> str:
        """Return the help text of one part."""
        return INTERVAL_HELP[part].format(self.help[0].lower() + self.help[1:]) if part else self.help


RUN = ("namespace", "run")
ROUND = (*RUN, "round")
FIGURE = (*ROUND, "subject", "set", "judge")
MONITOR = ("namespace", "monitor")
MONITOR_FIGURE = (*MONITOR, "set", "judge")

RUN_METRICS = (
    Metric("hardening_run_info", "A run: 1.", (*RUN, "uid", "model", "approval", "rounds"), detail="summary"),
    Metric("hardening_run_phase", "The phase a run is in and why: 1.", (*RUN, "phase", "reason"), detail="summary"),
    Metric("hardening_run_completion_timestamp_seconds", "When a terminal phase was reached.", RUN, detail="summary"),
    Metric(
        "hardening_run_harm_rate",
        "Harm rate under attack by the first judge, of the promoted or latest candidate and of the base.",
        (*RUN, "subject"),
        parts=VALUE_AND_LOWER,
        detail="summary",
    ),
    Metric(
        "hardening_run_win_rate",
        "Win rate on the original prompts by the first judge, of the promoted or latest candidate.",
        (*RUN, "subject"),
        detail="summary",
    ),
    Metric(
        "hardening_run_over_refusal_rate",
        "Over-refusal by the first judge that recognises refusals, of the promoted or latest candidate.",
        (*RUN, "subject"),
        parts=VALUE_AND_LOWER,
        detail="summary",
    ),
    Metric("hardening_run_start_timestamp_seconds", "When the first stage was started.", RUN, detail="short"),
    Metric("hardening_run_round", "The current round; 0 while the base is evaluated.", RUN, detail="short"),
    Metric("hardening_run_evaluated_round", "The latest round whose candidate was evaluated.", RUN, detail="short"),
    Metric(
        "hardening_run_last_activity_timestamp_seconds",
        "When the status last moved: a stage started or ended, a condition changed, or something was decided.",
        RUN,
        detail="short",
    ),
    Metric(
        "hardening_run_approval_requested_timestamp_seconds",
        "When a person was asked to approve; only while the answer is awaited.",
        RUN,
        detail="short",
    ),
    Metric("hardening_run_progress_ratio", "Share done of a running stage, 0 to 1.", (*ROUND, "stage"), detail="short"),
    Metric("hardening_run_eta_seconds", "Estimated time left of a running stage.", (*ROUND, "stage"), detail="short"),
    Metric("hardening_harm_rate", "Harmful / (harmful + safe).", FIGURE, parts=INTERVAL, detail="short"),
    Metric("hardening_win_rate", "Win / (win + loss + tie) against the base.", FIGURE, parts=INTERVAL, detail="short"),
    Metric("hardening_over_refusal_rate", "Refusals / all, on benign prompts.", FIGURE, parts=INTERVAL, detail="short"),
    Metric(
        "hardening_direct_harmfulness_mean",
        "Mean direct harmfulness R of the answers.",
        FIGURE,
    ),
    Metric(
        "hardening_judge_agreement_auc",
        "AUC of R against the judge's verdict: 1 agrees, 0.5 is chance.",
        (*ROUND, "set", "judge"),
        detail="short",
    ),
    Metric(
        "hardening_judge_agreement_spearman",
        "Rank correlation of R and the judge's verdict.",
        (*ROUND, "set", "judge"),
    ),
    Metric(
        "hardening_judge_errored_ratio",
        "Errored / all verdicts, or errored / all comparisons: the larger, of the worst evaluation set.",
        (*ROUND, "judge"),
        detail="short",
    ),
    Metric(
        "hardening_judge_errored_total",
        "Verdicts on base and candidates, and comparisons of them, that were errored, by cause.",
        (*RUN, "judge", "cause"),
        kind="counter",
    ),
    Metric(
        "hardening_judged_total",
        "Verdicts on the base (round 0) and on every candidate.",
        (*RUN, "judge", "verdict"),
        kind="counter",
    ),
    Metric(
        "hardening_attack_diversity",
        "Distinct bigrams / bigrams among a prompt's variants, averaged over prompts.",
        ROUND,
        detail="short",
    ),
    Metric("hardening_attack_self_bleu_mean", "BLEU-4 of a variant against the prompt's others; 1 is alike.", ROUND),
    Metric("hardening_attack_variants", "Variants sampled, by what became of them.", (*ROUND, "outcome")),
    Metric(
        "hardening_attack_direct_harmfulness_mean",
        "Mean direct harmfulness R of the training variants.",
        (*ROUND, "variants"),
    ),
    Metric("hardening_gate_verdict", "A gate's verdict on a round's candidate: 1.", (*ROUND, "gate", "verdict")),
    Metric("hardening_gate_value", "The end of the interval a gate compared.", (*ROUND, "gate")),
    Metric("hardening_gate_limit", "What a gate compared it with.", (*ROUND, "gate")),
    Metric("hardening_training_loss", "Mean DPO loss of the last tenth of a training.", (*ROUND, "role")),
    Metric(
        "hardening_training_rewards_margins", "Mean reward margin of the last tenth of a training.", (*ROUND, "role")
    ),
    Metric(
        "hardening_training_rewards_accuracy_ratio",
        "Share of pairs ranked rightly in the last tenth of a training.",
        (*ROUND, "role"),
    ),
    Metric("hardening_training_pairs", "Pairs trained on.", (*ROUND, "role")),
    Metric("hardening_stage_duration_seconds", "From the first start of a stage to its end.", (*ROUND, "stage")),
    Metric(
        "hardening_stage_retries_total",
        "Attempts that did not succeed, by reason: Failure counts against backoffLimit, Disruption does not.",
        (*RUN, "stage", "reason"),
        kind="counter",
    ),
    Metric("hardening_tokens_total", "Tokens read and written by models.", (*RUN, "stage"), kind="counter"),
    Metric(
        "hardening_gpu_seconds_total",
        "GPUs asked for x duration of the stages that ended, waiting included. "
        "A MIG slice counts by its share of the compute, g/7.",
        (*RUN, "stage"),
        kind="counter",
    ),
)
MONITOR_METRICS = (
    Metric(
        "hardening_monitor_harm_rate",
        "Harmful / (harmful + safe) at the latest check that could tell.",
        MONITOR_FIGURE,
        "monitor",
        parts=INTERVAL,
    ),
    Metric(
        "hardening_monitor_baseline_harm_rate",
        "The harm rate it is compared with.",
        MONITOR_FIGURE,
        "monitor",
        parts=INTERVAL[:3],
    ),
    Metric(
        "hardening_monitor_over_refusal_rate",
        "Refusals / all, on benign prompts, at the latest check that could tell.",
        (*MONITOR, "judge"),
        "monitor",
    ),
    Metric("hardening_monitor_regressed", "Whether the model is held to have regressed: 0 or 1.", MONITOR, "monitor"),
    Metric("hardening_monitor_consecutive_bad_checks", "Bad checks in a row.", MONITOR, "monitor"),
    Metric("hardening_monitor_target_reachable", "Whether the target answered: 0 or 1.", MONITOR, "monitor"),
    Metric("hardening_monitor_start_timestamp_seconds", "When it was first seen.", MONITOR, "monitor"),
    Metric("hardening_monitor_last_check_timestamp_seconds", "When the last check ended.", MONITOR, "monitor"),
    Metric(
        "hardening_monitor_last_success_timestamp_seconds",
        "When the last check ended that could tell.",
        MONITOR,
        "monitor",
    ),
    Metric(
        "hardening_monitor_next_schedule_timestamp_seconds",
        "When the next check is due; absent while suspended.",
        MONITOR,
        "monitor",
    ),
)
COLLECTOR_METRICS = (
    Metric(
        "hardening_exported_runs",
        "Runs, by how much of them is in this scrape: full, short, summary or none.",
        ("detail",),
        "collector",
    ),
)
OPERATOR_METRICS = (
    Metric("hardening_operator_info", "The operator: 1.", ("version",), "operator"),
    Metric("hardening_operator_leader", "Whether this process reconciles: 1, or stands by: 0.", (), "operator"),
    Metric(
        "hardening_reconcile_duration_seconds",
        "Time to reconcile one resource.",
        ("kind", "outcome"),
        "operator",
        kind="histogram",
    ),
    Metric("hardening_reconcile_queue_length", "Resources that wait to be reconciled.", (), "operator"),
    Metric("hardening_promotions_total", "Checkpoints promoted.", ("namespace",), "operator", kind="counter"),
    Metric(
        "hardening_promotions_blocked_total",
        "Candidates that were not promoted, or not yet, by reason.",
        ("namespace", "reason"),
        "operator",
        kind="counter",
    ),
)
CATALOGUE = RUN_METRICS + MONITOR_METRICS + COLLECTOR_METRICS + OPERATOR_METRICS


def find(name: str) -> Metric:
    """Return the metric called ``name``."""
    return next(metric for metric in CATALOGUE if metric.name == name)


def expanded(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """Return each exported name, suffixes included, with its metric."""
    return {metric.name + part: metric for metric in metrics for part in metric.parts}
