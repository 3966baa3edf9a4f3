"""`HardeningMonitor`: attacks a promoted or served model again on a schedule, and reports when it has regressed."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from hardening_api.base import (
    API_VERSION,
    ApiVersion,
    Contract,
    Count,
    Digest,
    DnsLabel,
    ExpectationError,
    ObjectMeta,
    Proportion,
    RunName,
    ShortText,
    Text,
    Timestamp,
)
from hardening_api.evaluation import HARM_SETS, Evaluation, EvaluationData, HarmSet
from hardening_api.pods import PodOverrides
from hardening_api.run import Workspace
from hardening_api.sources import Endpoint, ModelSource
from hardening_api.status import Condition, EvaluationFigures, GateVerdict, Phase, Rate
from hardening_api.training import Attacker

MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"


def _field(value: str) -> str:
    item = rf"(\*|({value})(-({value}))?)(/[1-9][0-9]?)?"
    return rf"{item}(,{item})*"


CRON_PATTERN = (
    "^"
    + " +".join(
        (
            _field("[0-5]?[0-9]"),
            _field("[01]?[0-9]|2[0-3]"),
            _field("0?[1-9]|[12][0-9]|3[01]"),
            _field(f"0?[1-9]|1[0-2]|{MONTHS}"),
            _field(f"[0-7]|{DAYS}"),
        )
    )
    + "$"
)
"""Minute, hour, day of month, month, day of week: each `*`, a value or a range, in steps, in a list."""
CRON_EXPECTED = 'five fields of cron: minute hour day month weekday, such as "0 3 * * *" or "*/30 8-18 * * MON-FRI"'


def _check_cron(value: str) -> str:
    if not re.fullmatch(CRON_PATTERN, value):
        raise ExpectationError(CRON_EXPECTED)
    return value


def _check_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ExpectationError("the IANA name of a time zone, such as Etc/UTC or Europe/Berlin") from None
    return value


CronSchedule = Annotated[
    str,
    Field(min_length=9, max_length=100, json_schema_extra={"pattern": CRON_PATTERN}),
    AfterValidator(_check_cron),
]
TimeZone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_time_zone)]


class MonitorTarget(Contract):
    """The model that is attacked; exactly one of the three."""

    run: RunName | None = None
    """A HardeningRun of the same namespace: its promoted checkpoint, or that of the newest rerun that was promoted."""
    model: ModelSource | None = None
    """A model by URI."""
    endpoint: Endpoint | None = None
    """What is really served. It gives answers and no log-probabilities: there is no R then."""

    @model_validator(mode="after")
    def _one(self) -> MonitorTarget:
        if sum(value is not None for value in (self.run, self.model, self.endpoint)) != 1:
            raise ExpectationError("exactly one of run, model, endpoint")
        return self


class MonitorEvaluation(Contract):
    """How the target is measured. What is left out is taken from the run."""

    run: RunName | None = None
    """A promoted HardeningRun: its held-out prompts, judges, attacker, bank and workspace; default `target.run`."""
    data: EvaluationData | None = None
    """Held-out prompts."""
    attacker: Attacker | None = None
    """The attacker and how it samples. Its model is, left out, the one the run's promoted round ended with."""
    settings: Evaluation | None = None
    """Judges, lengths and limits."""


class BaselineRate(Contract):
    """One harm rate the target is compared with."""

    set: HarmSet
    """Evaluation set."""
    judge: DnsLabel | None = None
    """Name of the judge that found it; the default is the first one."""
    harm_rate: Proportion
    """harmful / (harmful + safe)."""
    samples: Annotated[int, Field(ge=1, le=100_000_000)]
    """n, the judged samples it rests on."""


class Baseline(Contract):
    """What the target is compared with: by default the figures attested when the run's checkpoint was promoted."""

    figures: Annotated[list[BaselineRate], Field(max_length=12)] = []
    """Given harm rates in place of the attested ones."""


class Regression(Contract):
    """When a harm rate has regressed. A check is bad when the interval of (now - baseline) lies above 0."""

    consecutive: Annotated[int, Field(ge=1, le=100)] = 2
    """Bad checks in a row that make a regression. A check without a clear result neither counts nor breaks the row."""
    min_effect: Proportion = 0.0
    """A smaller rise of the harm rate is no regression, however sure it is."""
    sets: Annotated[list[HarmSet], Field(min_length=1, max_length=3)] = list(HARM_SETS)
    """Evaluation sets that are compared."""
    judge: DnsLabel | None = None
    """Name of the judge whose figures are compared; the default is the first one."""
    min_samples: Annotated[int, Field(ge=1, le=10_000_000)] = 30
    """A set with fewer judged samples, now or in the baseline, is not compared."""


class RerunPolicy(Contract):
    """How often `onRegression: Rerun` may harden again."""

    max_reruns: Annotated[int, Field(ge=1, le=10)] = 1
    """Most HardeningRuns this monitor ever creates."""
    cool_down_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 86_400
    """Least time between two of them."""


class HardeningMonitorSpec(Contract):
    """What to attack, when, and what to do when it has become worse."""

    schedule: CronSchedule
    """When to check, in cron's five fields."""
    time_zone: TimeZone = "Etc/UTC"
    """IANA time zone of the schedule."""
    suspend: bool = False
    """Start no check until this is false again; a running one continues."""
    starting_deadline_seconds: Annotated[int, Field(ge=10, le=31_536_000)] | None = None
    """A check that could not start this long after its time is left out; the default is no limit."""
    concurrency_policy: Literal["Forbid", "Replace"] = "Forbid"
    """When a check is still running at the time of the next: wait for it, or stop it and start the next."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Stop a check that takes longer; it then has no clear result."""
    target: MonitorTarget
    """The model that is attacked."""
    evaluation: MonitorEvaluation = MonitorEvaluation()
    """How it is measured."""
    baseline: Baseline = Baseline()
    """What it is compared with."""
    regression: Regression = Regression()
    """When it has regressed."""
    on_regression: Literal["Alert", "Rerun"] = "Alert"
    """`Alert` sets the condition Regressed and its metrics; `Rerun` also hardens the promoted checkpoint again."""
    rerun: RerunPolicy = RerunPolicy()
    """Cap and cool-down of `onRegression: Rerun`."""
    workspace: Workspace | None = None
    """Where the checks of a monitor that names no run keep their tables; else it is the run's workspace."""
    pod: PodOverrides = PodOverrides()
    """What differs in the check's pod from that of the run's Evaluate stage. A check has one shard."""
    history_limit: Annotated[int, Field(ge=1, le=50)] = 20
    """Checks kept in status."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the attacks; every check draws new ones from it."""

    @property
    def run(self) -> str | None:
        """Name of the run whose figures, data, attacker and workspace are used, if one is named."""
        return self.evaluation.run or self.target.run

    @model_validator(mode="after")
    def _one_shard(self) -> HardeningMonitorSpec:
        if (self.pod.shards or 1) > 1:
            raise ExpectationError("at=pod.shards;1 or nothing: a check is not split into shards")
        return self

    @model_validator(mode="after")
    def _says_what_no_run_says(self) -> HardeningMonitorSpec:
        if self.run is not None:
            if self.workspace is not None:
                raise ExpectationError(f"at=workspace;no workspace: that of run {self.run} is used")
            return self
        if self.evaluation.data is None:
            raise ExpectationError("at=evaluation.data;held-out prompts, or a run that has them in evaluation.run")
        if not self.baseline.figures:
            raise ExpectationError("at=baseline.figures;harm rates to compare with, or a run in evaluation.run")
        attacker = self.evaluation.attacker
        if self.target.endpoint is not None and (attacker is None or attacker.model is None):
            raise ExpectationError("at=evaluation.attacker;the model of an attacker, or a run in evaluation.run")
        if self.on_regression == "Rerun":
            raise ExpectationError("at=onRegression;Alert, or a run to harden again in evaluation.run")
        return self


MonitorConditionType = Literal["Ready", "Regressed", "TargetReachable", "Suspended"]


class MonitorCondition(Condition):
    """A Kubernetes condition of a monitor."""

    type: MonitorConditionType
    """What it is about."""


class HarmChange(Contract):
    """How a harm rate differs from its baseline."""

    set: HarmSet
    """Evaluation set."""
    judge: ShortText
    """Name of the judge."""
    change: Rate
    """Now minus baseline, with its 95 % interval."""
    method: Literal["Paired", "TwoSample"]
    """Paired where every answer was compared with the recorded one to the same question; else two samples."""
    verdict: GateVerdict
    """Fail: the interval lies above 0, and the change is at least `minEffect`."""


class CheckRecord(Contract):
    """One finished check."""

    name: DnsLabel
    """Its name; its tables are in `monitors/<monitor>/<name>/` of the workspace."""
    time: Timestamp
    """When it ended."""
    scheduled_time: Timestamp
    """When it was due."""
    start_time: Timestamp
    """When it was started."""
    verdict: GateVerdict
    """Pass: no regression. Fail: a harm rate rose. Inconclusive: it could not tell, for the reason given."""
    reason: ShortText
    """CamelCase word: NoRegression, HarmRegressed, TargetUnreachable, JudgeUnavailable, TooFewSamples, ..."""
    message: Text
    """The same in words, with figures."""
    figures: Annotated[list[EvaluationFigures], Field(max_length=20)] = []
    """By evaluation set and judge. `baseHarmRate` and `harmRateChange` are of the recorded answers, where there are."""
    changes: Annotated[list[HarmChange], Field(max_length=3)] = []
    """Against the baseline, by set."""
    attacks: Count = 0
    """Successful attacks that a rerun can be trained on."""
    digest: Digest | None = None
    """Digest of the check's manifest."""


class ActiveCheck(Contract):
    """A check that runs."""

    name: DnsLabel
    """Its name."""
    scheduled_time: Timestamp
    """When it was due."""
    start_time: Timestamp
    """When it was started."""
    attempt: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of the attempt; another one follows a disruption."""
    run: ShortText | None = None
    """The run whose checkpoint, attacker and data it uses."""


class MonitorBaseline(Contract):
    """What the checks are compared with."""

    source: Literal["Attested", "Given"]
    """From the promotion, or from the spec."""
    run: ShortText | None = None
    """Whose promotion."""
    checkpoint: Digest | None = None
    """Digest of the promoted checkpoint."""
    figures: Annotated[list[EvaluationFigures], Field(max_length=40)]
    """By evaluation set and judge."""


class RerunRecord(Contract):
    """A HardeningRun this monitor created."""

    name: DnsLabel
    """Its name."""
    time: Timestamp
    """When."""
    check: DnsLabel
    """The check whose successful attacks it was seeded with."""
    source: ShortText
    """The run whose promoted checkpoint it starts from."""
    phase: Phase | None = None
    """Where it stands; None until it was seen, and as it was last seen once it is gone."""


class HardeningMonitorStatus(Contract):
    """What was observed of a monitor."""

    conditions: Annotated[list[MonitorCondition], Field(max_length=8)] = []
    """Ready, Regressed, TargetReachable and Suspended."""
    observed_generation: Count | None = None
    """Generation of the spec this status speaks of."""
    start_time: Timestamp | None = None
    """When the monitor was first seen; no earlier check is due."""
    last_schedule_time: Timestamp | None = None
    """Time of the schedule of the last check that was started or left out."""
    next_schedule_time: Timestamp | None = None
    """When the next check is due; absent while suspended."""
    last_check_time: Timestamp | None = None
    """When the last check ended."""
    last_success_time: Timestamp | None = None
    """When the last check ended that could tell (Pass or Fail)."""
    consecutive_bad: Count = 0
    """Bad checks in a row."""
    active: ActiveCheck | None = None
    """The check that runs."""
    baseline: MonitorBaseline | None = None
    """What the checks are compared with."""
    history: Annotated[list[CheckRecord], Field(max_length=50)] = []
    """Finished checks, the newest last; at most `historyLimit`."""
    reruns: Annotated[list[RerunRecord], Field(max_length=10)] = []
    """HardeningRuns created, the newest last."""


class HardeningMonitor(Contract):
    """Attacks a promoted or served model again on a schedule."""

    api_version: ApiVersion = API_VERSION
    """Version of this contract."""
    kind: Literal["HardeningMonitor"] = "HardeningMonitor"
    """Kind of the object."""
    metadata: ObjectMeta
    """Kubernetes metadata."""
    spec: HardeningMonitorSpec
    """What is wanted."""
    status: HardeningMonitorStatus | None = None
    """What was observed; written by the operator only."""
