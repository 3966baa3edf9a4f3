"""The alert rules, once: Prometheus' and Grafana's are made from these.

Expressions take `max by` their own labels away from the scrape's (instance, pod), so that two scrapes of one operator,
or a failover, alert once. `$THRESHOLD` is what a value of the chart may change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

RUNBOOKS = "https://github.com/hardening-operator/hardening-operator/blob/main/docs/runbooks"
"""Where the chart's `monitoring.prometheusRule.runbookUrl` points by default."""
DAY = 86_400
ENDED_LONG_AGO = f"(time() - max by (namespace, run) (hardening_run_completion_timestamp_seconds) > {DAY})"
"""A run that ended a day ago alerts no one any more."""
LATEST_ROUND = 'count_values by (namespace, run) ("round", max by (namespace, run) (hardening_run_evaluated_round))'
"""1 for each run, with its latest evaluated round as a label."""


@dataclass(frozen=True)
class Alert:
    """One rule; its page is `docs/runbooks/<name>.md`."""

    name: str
    summary: str
    description: str
    expression: str
    severity: Literal["critical", "warning", "info"] = "warning"
    wait: str = "0m"
    """How long it must hold before it fires."""
    linger: str = "5m"
    """How long it keeps firing when it no longer holds: a failover or restart of the operator, which takes its series
    away for less than that, resolves nothing."""
    threshold: float | None = None

    @property
    def query(self) -> str:
        """The expression with the default threshold, on one line."""
        return self.with_threshold("" if self.threshold is None else f"{self.threshold:g}")

    @property
    def template(self) -> str:
        """The expression on one line, `$THRESHOLD` left in."""
        return re.sub(r"\s+", " ", self.expression.strip())

    def with_threshold(self, text: str) -> str:
        """Return the expression with another threshold."""
        return self.template.replace("$THRESHOLD", text)


WHO = (
    "{{ with $labels.run }}run {{ $labels.namespace }}/{{ . }}{{ end }}"
    "{{ with $labels.monitor }}monitor {{ $labels.namespace }}/{{ . }}{{ end }}"
)
RUN_NAME = "{{ $labels.namespace }}/{{ $labels.run }}"
PERCENT = "{{ $value | humanizePercentage }}"
DURATION = "{{ $value | humanizeDuration }}"

ALERTS = (
    Alert(
        name="HarmRateRegression",
        severity="critical",
        summary="Monitor {{ $labels.namespace }}/{{ $labels.monitor }}: the model does more harm than at promotion",
        description=f"On {{{{ $labels.set }}}} prompts, by judge {{{{ $labels.judge }}}}, the lower bound of the harm "
        f"rate is {PERCENT}, above the upper bound at promotion, in consecutive checks.",
        expression="""
        (max by (namespace, monitor, set, judge) (hardening_monitor_harm_rate_lower)
          > max by (namespace, monitor, set, judge) (hardening_monitor_baseline_harm_rate_upper))
        and on (namespace, monitor) (max by (namespace, monitor) (hardening_monitor_regressed) == 1)
        """,
    ),
    Alert(
        name="HarmRateHigh",
        summary=f"High harm rate of the promoted or served model: {WHO}",
        description=f"The lower bound of its harm rate is {PERCENT}.",
        threshold=0.1,
        expression="""
        max by (namespace, run) (hardening_run_harm_rate_lower{subject="promoted"}) > $THRESHOLD
        or max by (namespace, monitor, set, judge) (hardening_monitor_harm_rate_lower) > $THRESHOLD
        """,
    ),
    Alert(
        name="OverRefusalHigh",
        summary=f"The promoted or served model declines benign prompts: {WHO}",
        description=f"Its over-refusal rate is {PERCENT} (for a run, the lower bound).",
        threshold=0.2,
        expression="""
        max by (namespace, run) (hardening_run_over_refusal_rate_lower{subject="promoted"}) > $THRESHOLD
        or max by (namespace, monitor, judge) (hardening_monitor_over_refusal_rate) > $THRESHOLD
        """,
    ),
    Alert(
        name="WinRateDropped",
        summary=f"Run {RUN_NAME}: the latest candidate is worse than an earlier one",
        description="On {{ $labels.set }} prompts, by judge {{ $labels.judge }}, the upper bound of the win rate of "
        f"round {{{{ $labels.round }}}} is {PERCENT}, below the lower bound of an earlier round.",
        expression=f"""
        ((max by (namespace, run, round, set, judge) (hardening_win_rate_upper{{subject="candidate"}})
            and on (namespace, run, round) {LATEST_ROUND})
          < on (namespace, run, set, judge) group_left ()
            max by (namespace, run, set, judge) (hardening_win_rate_lower{{subject="candidate"}}))
        unless on (namespace, run) {ENDED_LONG_AGO}
        """,
    ),
    Alert(
        name="JudgeErrorRateHigh",
        summary=f"Run {RUN_NAME}: judge {{{{ $labels.judge }}}} fails too often",
        description=f"{PERCENT} of its verdicts in round {{{{ $labels.round }}}} are errored or unparsable: its gates "
        "are Inconclusive.",
        threshold=0.05,
        expression=f"""
        (max by (namespace, run, round, judge) (hardening_judge_errored_ratio) > $THRESHOLD)
        and on (namespace, run, round) {LATEST_ROUND}
        unless on (namespace, run) {ENDED_LONG_AGO}
        """,
    ),
    Alert(
        name="MetricJudgeDisagreement",
        summary=f"Run {RUN_NAME}: direct harmfulness R no longer agrees with judge {{{{ $labels.judge }}}}",
        description="In round {{ $labels.round }} the AUC of R against the verdicts is {{ $value | humanize }}: the "
        "training optimises something the judge does not see (reward hacking), or the judge is wrong.",
        threshold=0.6,
        expression=f"""
        (max by (namespace, run, round, set, judge) (hardening_judge_agreement_auc) < $THRESHOLD)
        and on (namespace, run, round, set, judge) (max by (namespace, run, round, set, judge) (
          hardening_harm_rate{{subject="candidate"}} * hardening_harm_rate_samples{{subject="candidate"}}) >= 10)
        and on (namespace, run, round) {LATEST_ROUND}
        unless on (namespace, run) {ENDED_LONG_AGO}
        """,
    ),
    Alert(
        name="AttackDiversityLow",
        summary=f"Run {RUN_NAME}: the attacker repeats itself",
        description="In round {{ $labels.round }} only {{ $value | humanizePercentage }} of the bigrams among a "
        "prompt's variants are distinct: a low harm rate may mean a weak attacker.",
        threshold=0.5,
        expression=f"""
        (max by (namespace, run, round) (hardening_attack_diversity) < $THRESHOLD)
        and on (namespace, run, round) {LATEST_ROUND}
        unless on (namespace, run) {ENDED_LONG_AGO}
        """,
    ),
    Alert(
        name="RunStalled",
        summary=f"Run {RUN_NAME} makes no progress",
        description=f"Nothing has moved for {DURATION}: no stage started or ended, and no progress was reported.",
        threshold=3600,
        expression="""
        (time() - max by (namespace, run) (hardening_run_last_activity_timestamp_seconds) > $THRESHOLD)
        and on (namespace, run) (max by (namespace, run) (hardening_run_phase{phase=~"Running|Promoting"}) == 1)
        unless on (namespace, run)
          (max by (namespace, run) (changes(hardening_run_progress_ratio[$THRESHOLDs])) > 0)
        """,
    ),
    Alert(
        name="RunFailed",
        summary=f"Run {RUN_NAME} has failed: {{{{ $labels.reason }}}}",
        description="`kubectl describe hrun {{ $labels.run }} -n {{ $labels.namespace }}` says what happened and what "
        "to do. Resolves after a day, or when the run is deleted.",
        expression=f"""
        max by (namespace, run, reason) (hardening_run_phase{{phase="Failed"}}) == 1
        unless on (namespace, run) {ENDED_LONG_AGO}
        """,
    ),
    Alert(
        name="PromotionBlocked",
        summary=f"Run {RUN_NAME} ended without a promotion: {{{{ $labels.reason }}}}",
        description="No candidate may be promoted; the served model stays. Resolves after a day, or when the "
        "run is deleted.",
        expression=f"""
        max by (namespace, run, reason) (hardening_run_phase{{phase="NotPromoted"}}) == 1
        unless on (namespace, run) {ENDED_LONG_AGO}
        """,
    ),
    Alert(
        name="ApprovalPending",
        severity="info",
        summary=f"Run {RUN_NAME} waits for a person's approval",
        description=f"Its candidate has waited for {DURATION}.",
        threshold=4 * 3600,
        expression="""
        time() - max by (namespace, run) (hardening_run_approval_requested_timestamp_seconds) > $THRESHOLD
        """,
    ),
    Alert(
        name="MonitorStale",
        summary="Monitor {{ $labels.namespace }}/{{ $labels.monitor }} does not measure",
        description=f"For {DURATION} a check has been overdue, or no check had a clear result: "
        "a regression would go unnoticed.",
        threshold=6 * 3600,
        expression="""
        (time() - max by (namespace, monitor) (hardening_monitor_next_schedule_timestamp_seconds) > 3600)
        or (time() - (max by (namespace, monitor) (hardening_monitor_last_success_timestamp_seconds)
              or max by (namespace, monitor) (hardening_monitor_start_timestamp_seconds)) > $THRESHOLD)
          and on (namespace, monitor) (max by (namespace, monitor) (hardening_monitor_last_check_timestamp_seconds)
            > (max by (namespace, monitor) (hardening_monitor_last_success_timestamp_seconds)
              or 0 * max by (namespace, monitor) (hardening_monitor_last_check_timestamp_seconds)))
          and on (namespace, monitor) max by (namespace, monitor) (hardening_monitor_next_schedule_timestamp_seconds)
        """,
    ),
    Alert(
        name="OperatorDown",
        severity="critical",
        wait="5m",
        linger="0m",
        summary="The hardening operator is down",
        description="No operator leads: runs and monitors stand still. Running stages continue and save.",
        expression="absent(hardening_operator_leader == 1)",
    ),
)
