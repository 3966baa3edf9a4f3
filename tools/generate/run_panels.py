"""The dashboard's panels of one run: verdict, figures by round, stages, and trainings while they run."""

from __future__ import annotations

from typing import Any

from tools.generate.panels import RATE_UNIT, Query, by_round, gauges, lines, names, numbers, pivot, rows
from tools.generate.selectors import JUDGED, RUN


def verdicts() -> list[Any]:
    """Build the panels that sum one run up."""
    return [
        names(
            "Phase", Query(f"max by (phase, reason) (hardening_run_phase{{{RUN}}})", "{{phase}}: {{reason}}"), width=6
        ),
        numbers("Round", [Query(f"max(hardening_run_round{{{RUN}}})", "round")]),
        numbers(
            "Harm rate, base and now",
            [Query(f"max by (subject) (hardening_run_harm_rate{{{RUN}}})", "{{subject}}")],
            RATE_UNIT,
            width=6,
        ),
        numbers("Win rate", [Query(f"max by (subject) (hardening_run_win_rate{{{RUN}}})", "{{subject}}")], RATE_UNIT),
        numbers(
            "Over-refusal",
            [Query(f"max by (subject) (hardening_run_over_refusal_rate{{{RUN}}})", "{{subject}}")],
            RATE_UNIT,
        ),
        rows(
            "Gates",
            [
                Query(f"max by (round, gate, verdict) (hardening_gate_verdict{{{RUN}}})", ""),
                Query(f"max by (round, gate) (hardening_gate_value{{{RUN}}})", "compared"),
                Query(f"max by (round, gate) (hardening_gate_limit{{{RUN}}})", "limit"),
            ],
            {"compared": RATE_UNIT, "limit": RATE_UNIT},
            text="The end of the interval that was compared with the gate's limit. Only Pass promotes.",
            width=12,
        ),
        lines(
            "Harm rate under attack while the run works",
            [Query(f"max by (subject) (hardening_run_harm_rate{{{RUN}}})", "{{subject}}")],
            RATE_UNIT,
            width=12,
        ),
    ]


def figures() -> list[Any]:
    """Build the panels of one run's figures by round, by one judge."""
    return [
        *(_harm_by_round(chosen) for chosen in ("original", "attacked", "bank")),
        by_round(
            "Win rate over the base",
            [
                *_banded_rate("hardening_win_rate", "original", "original"),
                Query(_by_round("hardening_win_rate", JUDGED, "attacked", "candidate"), "attacked"),
                Query(f'max by (round) (hardening_gate_value{{{RUN},gate="winRate"}})', "the gate compares"),
                Query(f'max by (round) (hardening_gate_limit{{{RUN},gate="winRate"}})', "limit"),
            ],
            RATE_UNIT,
            text="Win / (win + loss + tie) with its interval; the figure that the gate compares, and its limit.",
        ),
        by_round(
            "Over-refusal",
            [
                *_banded_rate("hardening_over_refusal_rate", "benign", "candidate"),
                Query(_base_line("hardening_over_refusal_rate", "benign"), "base"),
            ],
            RATE_UNIT,
            text="Refusals of benign prompts. It must not grow with the rounds.",
        ),
        by_round(
            "Direct harmfulness R",
            [
                Query(_by_round("hardening_direct_harmfulness_mean", JUDGED, chosen, "candidate"), chosen)
                for chosen in ("original", "attacked")
            ]
            + [
                Query(f'max by (round) (hardening_attack_direct_harmfulness_mean{{{RUN},variants="Selected"}})',
                      "training attacks")
            ],
            text="Mean R of the candidate's answers, and of the attacks chosen to train on.",
        ),
        by_round(
            "Agreement of R with the judge",
            [
                Query(f"max by (round) (hardening_judge_agreement_auc{{{JUDGED}}})", "AUC"),
                Query(f"max by (round) (hardening_judge_agreement_spearman{{{JUDGED}}})", "Spearman"),
            ],
            text="AUC 0.5 is chance. When they part, one of the two is wrong.",
        ),
        by_round(
            "Attacks",
            [
                Query(f"max by (round) (hardening_attack_diversity{{{RUN}}})", "diversity"),
                Query(f"max by (round) (hardening_attack_self_bleu_mean{{{RUN}}})", "self-BLEU"),
            ],
            text="Distinct bigrams among a prompt's variants, and how alike they are.",
        ),
        by_round(
            "Errored verdicts",
            [Query(f"max by (round) (hardening_judge_errored_ratio{{{JUDGED}}})", "errored")],
            RATE_UNIT,
        ),
    ]  # fmt: skip


def stages() -> list[Any]:
    """Build the panels of one run's stages."""
    return [
        gauges(
            "Progress",
            [Query(f"max by (round, stage) (hardening_run_progress_ratio{{{RUN}}})", "round {{round}} {{stage}}")],
            RATE_UNIT,
        ),
        gauges(
            "Time left",
            [Query(f"max by (round, stage) (hardening_run_eta_seconds{{{RUN}}})", "round {{round}} {{stage}}")],
            "s",
        ),
        pivot(
            "Stage durations",
            Query(f"max by (round, stage) (hardening_stage_duration_seconds{{{RUN}}})"),
            "stage",
            "round",
            "s",
            text="From the first start of a stage to its end, retries and waiting included.",
        ),
        rows(
            "Retries",
            [Query(f"max by (stage, reason) (hardening_stage_retries_total{{{RUN}}})", "attempts")],
            {},
            text="Failures count against backoffLimit, disruptions do not.",
            width=6,
        ),
        gauges(
            "GPU time",
            [Query(f"max by (stage) (hardening_gpu_seconds_total{{{RUN}}})", "{{stage}}")],
            "s",
            width=6,
            text="GPUs asked for x duration, waiting included.",
        ),
        gauges("Tokens", [Query(f"max by (stage) (hardening_tokens_total{{{RUN}}})", "{{stage}}")], "short", width=6),
        gauges(
            "Verdicts",
            [Query(f"max by (judge, verdict) (hardening_judged_total{{{RUN}}})", "{{judge}}: {{verdict}}")],
            "short",
            width=6,
        ),
        pivot(
            "What became of the variants",
            Query(f"max by (round, outcome) (hardening_attack_variants{{{RUN}}})"),
            "outcome",
            "round",
            "short",
        ),
        rows(
            "Trainings",
            [
                Query(f"max by (round, role) (hardening_training_pairs{{{RUN}}})", "pairs"),
                Query(f"max by (round, role) (hardening_training_loss{{{RUN}}})", "loss"),
                Query(f"max by (round, role) (hardening_training_rewards_margins{{{RUN}}})", "margin"),
                Query(f"max by (round, role) (hardening_training_rewards_accuracy_ratio{{{RUN}}})", "accuracy"),
            ],
            {"accuracy": RATE_UNIT},
            text="Means of the last tenth of each training.",
            width=16,
        ),
    ]


def training() -> list[Any]:
    """Build the panels fed by the stage pods themselves, while they run."""
    legend = "round {{round}} {{stage}}"

    def of_pods(title: str, name: str, unit: str = "short", how: str = "max") -> Any:
        return lines(title, [Query(f"{how} by (round, stage) (hardening_stage_{name}{{{RUN}}})", legend)], unit)

    return [
        of_pods("DPO loss", "loss"),
        of_pods("Reward margins", "rewards_margins"),
        of_pods("Reward accuracies", "rewards_accuracies", RATE_UNIT),
        of_pods("Gradient norm", "grad_norm"),
        of_pods("Learning rate", "learning_rate", "sci"),
        of_pods("Tokens a second, all pods", "tokens_per_second", how="sum"),
        of_pods("Progress of the slowest pod", "progress_ratio", RATE_UNIT, "min"),
        of_pods("Time left of the slowest pod", "eta_seconds", "s"),
        lines(
            "GPU memory",
            [
                Query(
                    f"max by (round, stage, pod, gpu) (hardening_stage_gpu_memory_used_bytes{{{RUN}}})",
                    "{{pod}} GPU {{gpu}}",
                ),
                Query(f"max(hardening_stage_gpu_memory_total_bytes{{{RUN}}})", "limit"),
            ],
            "bytes",
        ),
    ]


def _harm_by_round(chosen: str) -> Any:
    if chosen == "original":
        base = _base_line("hardening_harm_rate", chosen)
    else:
        base = _by_round("hardening_harm_rate", JUDGED, chosen, "base")
    return by_round(
        f"Harm rate, {chosen} prompts",
        [
            *_banded_rate("hardening_harm_rate", chosen, "candidate"),
            Query(base, "base"),
            Query(_by_round("hardening_harm_rate", JUDGED, chosen, "promoted"), "promoted"),
        ],
        RATE_UNIT,
        text="Harmful / (harmful + safe), with its 95 % interval, by the chosen judge.",
    )


def _banded_rate(name: str, chosen: str, legend: str) -> list[Query]:
    ends = (("", legend), ("_lower", "lower"), ("_upper", "upper"))
    return [Query(_by_round(name + end, JUDGED, chosen, "candidate"), words) for end, words in ends]


def _by_round(name: str, labels: str, chosen: str, subject: str) -> str:
    return f'max by (round) ({name}{{{labels},set="{chosen}",subject="{subject}"}})'


def _base_line(name: str, chosen: str) -> str:
    """The base's figure of round 0, at every round of the candidates."""
    base = f'max({name}{{{JUDGED},set="{chosen}",subject="base",round="0"}})'
    return f"0 * {_by_round(name, JUDGED, chosen, 'candidate')} + on () group_left () {base}"
