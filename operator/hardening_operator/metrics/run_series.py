"""A run's series, read from its status: pure functions from facts to samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from hardening_api.status import TERMINAL_PHASES
from hardening_operator.metrics.facts import RunFacts

Document = Mapping[str, Any]


class Sample(NamedTuple):
    """One value of one metric."""

    name: str
    labels: tuple[str, ...]
    """Values of the metric's labels, in the catalogue's order."""
    value: float


DETAILED_ROUNDS = 5
HEADLINE_SETS = ("attacked", "original", "benign")
"""The evaluation set of each of `RATES` that speaks for the run, as in `status.summary`."""
FRESH_SETS = ("attacked", "bank")
"""Sets whose prompts differ from round to round; on the others the base's figures are those of round 0."""
RATES = (
    ("hardening_harm_rate", "harmRate"),
    ("hardening_win_rate", "winRate"),
    ("hardening_over_refusal_rate", "overRefusal"),
)


def summary_series(facts: RunFacts) -> Iterator[Sample]:
    """Yield what every run has: what it is, its phase, and the figures of its promoted or latest candidate."""
    run, status = (facts.namespace, facts.name), facts.status
    info = (*run, facts.uid, facts.model, facts.approval, str(facts.rounds))
    yield Sample("hardening_run_info", info, 1)
    yield Sample("hardening_run_phase", (*run, status.get("phase", "Pending"), _reason(status)), 1)
    if status.get("completionTime") is not None:
        yield Sample("hardening_run_completion_timestamp_seconds", run, seconds(status["completionTime"]))
    entry = _latest(facts)
    if entry is None:
        return
    labels = (*run, "promoted" if entry["round"] == _promoted_round(facts) else "candidate")
    for (name, field), chosen in zip(RATES, HEADLINE_SETS, strict=True):
        figures = _first(entry, chosen, field)
        if figures is not None:
            short_name = name.replace("hardening_", "hardening_run_")
            yield Sample(short_name, labels, figures[field]["value"])
            if field != "winRate":
                yield Sample(short_name + "_lower", labels, figures[field]["lower"])
        if field == "harmRate" and figures is not None and figures.get("baseHarmRate") is not None:
            yield Sample(short_name, (*run, "base"), figures["baseHarmRate"]["value"])


def short_series(facts: RunFacts) -> Iterator[Sample]:
    """Yield the summary, where the run stands, and the main figures of its promoted or latest candidate."""
    yield from summary_series(facts)
    yield from _position(facts)
    entry = _latest(facts)
    if entry is not None:
        yield from _headline((facts.namespace, facts.name, str(entry["round"])), "candidate", entry)


def full_series(facts: RunFacts) -> Iterator[Sample]:
    """Yield everything: all figures of the last `DETAILED_ROUNDS` rounds, the main ones of the rounds before."""
    yield from summary_series(facts)
    yield from _position(facts)
    run, status = (facts.namespace, facts.name), facts.status
    promoted, entries = _promoted_round(facts), _entries(status)
    for entry in entries:
        where = (*run, str(entry["round"]))
        is_base = entry["round"] == 0
        if entry["round"] == promoted:
            yield from _rates(where, "promoted", entry)
        if is_base or entry["round"] > entries[-1]["round"] - DETAILED_ROUNDS:
            yield from _details(where, "base" if is_base else "candidate", entry)
        elif entry.get("evaluations"):
            yield from _headline(where, "candidate", entry)
    yield from _totals(facts)


def is_live(facts: RunFacts) -> bool:
    """Return whether the run has not ended."""
    return facts.status.get("phase", "Pending") not in TERMINAL_PHASES


def started(facts: RunFacts) -> str:
    """Return when the run was started, as text that sorts by time; a run that was not comes last."""
    return str(facts.status.get("startTime") or "9999")


def seconds(timestamp: str) -> float:
    """Return an RFC 3339 ``timestamp`` as seconds since the epoch."""
    return datetime.fromisoformat(timestamp).timestamp()


def interval(name: str, labels: tuple[str, ...], figure: Document | None) -> Iterator[Sample]:
    """Yield a figure and the ends of its interval, and how many samples it rests on; nothing for no figure."""
    if figure is None:
        return
    yield Sample(name, labels, figure["value"])
    yield Sample(name + "_lower", labels, figure["lower"])
    yield Sample(name + "_upper", labels, figure["upper"])
    yield Sample(name + "_samples", labels, figure["samples"])


def _position(facts: RunFacts) -> Iterator[Sample]:
    """Yield where a run stands and when it last moved."""
    run, status = (facts.namespace, facts.name), facts.status
    yield Sample("hardening_run_round", run, status.get("round", 0))
    if status.get("startTime") is not None:
        yield Sample("hardening_run_start_timestamp_seconds", run, seconds(status["startTime"]))
    evaluated = [entry["round"] for entry in status.get("rounds", ()) if entry.get("evaluations")]
    if evaluated:
        yield Sample("hardening_run_evaluated_round", run, evaluated[-1])
    last = max(_moments(status), default=None)
    if last is not None:
        yield Sample("hardening_run_last_activity_timestamp_seconds", run, seconds(last))
    asked = [entry["time"] for entry in status.get("decisions", ()) if entry["decision"] == "AwaitApproval"]
    if status.get("phase") == "AwaitingApproval" and asked:
        yield Sample("hardening_run_approval_requested_timestamp_seconds", run, seconds(asked[-1]))
    for progress in status.get("progress", ()):
        labels = (*run, str(progress["round"]), progress["stage"])
        yield Sample("hardening_run_progress_ratio", labels, progress["ratio"])
        if progress.get("etaSeconds") is not None:
            yield Sample("hardening_run_eta_seconds", labels, progress["etaSeconds"])


def _reason(status: Document) -> str:
    reasons = {condition["type"]: condition["reason"] for condition in status.get("conditions", ())}
    kind = "Suspended" if status.get("phase") == "Suspended" else "Progressing"
    return str(reasons.get(kind, "NotStarted"))


def _moments(status: Document) -> Iterator[str]:
    """Yield every time in a status; all are UTC to the second, so text sorts by time."""
    for field in ("startTime", "completionTime"):
        if status.get(field) is not None:
            yield status[field]
    for entry in _entries(status):
        for stage in entry.get("stages", ()):
            yield from (stage[field] for field in ("startTime", "completionTime") if stage.get(field) is not None)
    yield from (condition["lastTransitionTime"] for condition in status.get("conditions", ()))
    yield from (decision["time"] for decision in status.get("decisions", ()))


def _entries(status: Document) -> list[Document]:
    base = status.get("base")
    return [*([base] if base is not None else []), *status.get("rounds", ())]


def _promoted_round(facts: RunFacts) -> int | None:
    promoted = facts.status.get("promoted")
    return promoted["round"] if promoted is not None else None


def _latest(facts: RunFacts) -> Document | None:
    """Return the promoted round, else the latest that was evaluated."""
    promoted = _promoted_round(facts)
    for entry in reversed(facts.status.get("rounds", ())):
        if entry.get("evaluations") and promoted in (None, entry["round"]):
            return dict(entry)
    return None


def _first(entry: Document, chosen: str, field: str) -> Document | None:
    """Return the figures of the judge that comes first, of those that have ``field``, on one evaluation set."""
    return next((f for f in entry["evaluations"] if f["set"] == chosen and f.get(field) is not None), None)


def _headline(where: tuple[str, ...], subject: str, entry: Document) -> Iterator[Sample]:
    """Yield a round's main figures, which alerts look at: by the judge whose figures come first."""
    for (name, field), chosen in zip(RATES, HEADLINE_SETS, strict=True):
        figures = _first(entry, chosen, field)
        if figures is not None:
            yield from interval(name, (*where, subject, chosen, figures["judge"]), figures[field])
    agreement = _first(entry, "attacked", "agreementAuc")
    if agreement is not None:
        labels = (*where, "attacked", agreement["judge"])
        yield Sample("hardening_judge_agreement_auc", labels, agreement["agreementAuc"])
    yield from _errored(where, entry["evaluations"])
    diversity = (entry.get("attack") or {}).get("diversity")
    if diversity is not None:
        yield Sample("hardening_attack_diversity", where, diversity["value"])


def _details(where: tuple[str, ...], subject: str, entry: Document) -> Iterator[Sample]:
    yield from _rates(where, subject, entry)
    evaluations = entry.get("evaluations", ())
    for figures in evaluations:
        judged = (figures["set"], figures["judge"])
        if figures["set"] in FRESH_SETS:
            yield from interval("hardening_harm_rate", (*where, "base", *judged), figures.get("baseHarmRate"))
        for name, field in (("auc", "agreementAuc"), ("spearman", "agreementSpearman")):
            if figures.get(field) is not None:
                yield Sample(f"hardening_judge_agreement_{name}", (*where, *judged), figures[field])
    yield from _errored(where, evaluations)
    yield from _attack(where, entry.get("attack"))
    yield from _trainings(where, entry)
    yield from _gates(where, entry)
    for stage in entry.get("stages", ()):
        if stage.get("seconds") is not None:
            yield Sample("hardening_stage_duration_seconds", (*where, stage["stage"]), stage["seconds"])


def _rates(where: tuple[str, ...], subject: str, entry: Document) -> Iterator[Sample]:
    for figures in entry.get("evaluations", ()):
        labels = (*where, subject, figures["set"], figures["judge"])
        for name, field in RATES:
            yield from interval(name, labels, figures.get(field))
        if figures.get("directHarmfulness") is not None:
            yield Sample("hardening_direct_harmfulness_mean", labels, figures["directHarmfulness"]["value"])


def _errored(where: tuple[str, ...], evaluations: list[Document]) -> Iterator[Sample]:
    worst: dict[str, float] = {}
    for figures in evaluations:
        judge = figures["judge"]
        ratios = (figures.get("erroredFraction", 0.0), figures.get("erroredComparisonFraction", 0.0))
        worst[judge] = max(worst.get(judge, 0.0), *ratios)
    for judge, ratio in worst.items():
        yield Sample("hardening_judge_errored_ratio", (*where, judge), ratio)


def _attack(where: tuple[str, ...], attack: Document | None) -> Iterator[Sample]:
    if attack is None:
        return
    for outcome, count in {"Valid": attack["valid"], **attack.get("rejected", {})}.items():
        yield Sample("hardening_attack_variants", (*where, outcome), count)
    for name, field in (("diversity", "diversity"), ("self_bleu_mean", "selfBleu")):
        if attack.get(field) is not None:
            yield Sample(f"hardening_attack_{name}", where, attack[field]["value"])
    for variants, field in (("Valid", "directHarmfulness"), ("Selected", "selectedDirectHarmfulness")):
        if attack.get(field) is not None:
            labels = (*where, variants)
            yield Sample("hardening_attack_direct_harmfulness_mean", labels, attack[field]["value"])


def _trainings(where: tuple[str, ...], entry: Document) -> Iterator[Sample]:
    for training in entry.get("trainings", ()):
        labels = (*where, training["role"])
        yield Sample("hardening_training_pairs", labels, training["pairs"])
        for name, field in (
            ("loss", "loss"),
            ("rewards_margins", "rewardsMargins"),
            ("rewards_accuracy_ratio", "rewardsAccuracies"),
        ):
            if training.get(field) is not None:
                yield Sample(f"hardening_training_{name}", labels, training[field])


def _gates(where: tuple[str, ...], entry: Document) -> Iterator[Sample]:
    for gate in entry.get("gates", ()):
        labels = (*where, gate["gate"])
        yield Sample("hardening_gate_verdict", (*labels, gate["verdict"]), 1)
        yield Sample("hardening_gate_limit", labels, gate["limit"])
        if gate.get("value") is not None:
            yield Sample("hardening_gate_value", labels, gate["value"])


def _totals(facts: RunFacts) -> Iterator[Sample]:
    """Yield what adds up over the rounds; a status only grows, so these never fall."""
    run = (facts.namespace, facts.name)
    judged: dict[tuple[str, str], float] = {}
    causes = Counter[tuple[str, str]]()
    by_stage: dict[tuple[str, tuple[str, ...]], float] = {}
    for entry in _entries(facts.status):
        for figures in entry.get("evaluations", ()):
            for verdict, count in _verdicts(figures).items():
                key = (figures["judge"], verdict)
                judged[key] = judged.get(key, 0) + count
            for cause, count in _causes(figures).items():
                causes[figures["judge"], cause] += count
        for stage in entry.get("stages", ()):
            for name, labels, value in _stage_totals(facts, stage):
                if value:
                    by_stage[name, labels] = by_stage.get((name, labels), 0) + value
    for key, verdicts in judged.items():
        yield Sample("hardening_judged_total", (*run, *key), verdicts)
    for key, errored in causes.items():
        yield Sample("hardening_judge_errored_total", (*run, *key), errored)
    for (name, labels), value in by_stage.items():
        yield Sample(name, (*run, *labels), value)


def _causes(figures: Document) -> Counter[str]:
    tables = ("erroredCauses", "baseErroredCauses", "erroredComparisonCauses")
    return sum((Counter(figures.get(table, {})) for table in tables), Counter())


def _verdicts(figures: Document) -> dict[str, int]:
    counts = {"errored": figures.get("errored", 0)}
    for field, names in (("harmRate", ("harmful", "safe")), ("overRefusal", ("refused", "answered"))):
        rate = figures.get(field)
        if rate is not None:
            first = round(rate["value"] * rate["samples"])
            counts |= {names[0]: first, names[1]: rate["samples"] - first}
    return counts


def _stage_totals(facts: RunFacts, stage: Document) -> Iterator[Sample]:
    name = (stage["stage"],)
    disruptions = stage.get("disruptions", 0)
    unended = stage["state"] in ("Running", "Succeeded", "Stopped")
    failures = stage.get("attempts", 0) - disruptions - unended
    yield Sample("hardening_stage_retries_total", (*name, "Disruption"), disruptions)
    yield Sample("hardening_stage_retries_total", (*name, "Failure"), max(0, failures))
    yield Sample("hardening_tokens_total", name, stage.get("tokens") or 0)
    yield Sample("hardening_gpu_seconds_total", name, facts.gpus.get(stage["stage"], 0) * (stage.get("seconds") or 0))
