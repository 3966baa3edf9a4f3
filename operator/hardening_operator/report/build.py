"""`hardening report`: one self-contained HTML page of a run. Figures only, unless text is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from hardening_api.evaluation import HarmSet
from hardening_api.run import HardeningRun
from hardening_api.stats import AgreementSums
from hardening_api.status import EvaluationFigures, HardeningRunStatus, Rate, StageStatus
from hardening_operator.formatting import duration
from hardening_operator.planner.types import round_of
from hardening_operator.report import plots

SETS = {
    "original": "held-out prompts as they are",
    "attacked": "the same prompts, rewritten by the round's attacker",
    "bank": "every earlier successful attack, replayed",
    "benign": "harmless prompts, many of them look-alikes",
}


def build_page(
    run: HardeningRun,
    status: HardeningRunStatus,
    histograms: Mapping[str, AgreementSums] | None = None,
    text_rows: list[dict[str, Any]] | None = None,
) -> str:
    """Return the page of a run.

    Args:
        run: The run.
        status: Its status, with every figure of the page.
        histograms: How R is distributed, by round; a run as a resource has none.
        text_rows: Prompts and answers, None when not asked for.
    """
    environment = Environment(
        loader=PackageLoader("hardening_operator.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "causes": _causes, "duration": duration}
    return environment.get_template("report.html.j2").render(
        run=run,
        status=status,
        sets=SETS,
        win_set=_win_set(run),
        decision=_decision(run, status),
        headline=list(_headline(status, _win_set(run))),
        entries=status.entries,
        plots={name: Markup(svg) for name, svg in _plots(run, status, histograms or {}).items()},  # noqa: S704 - our own SVG
        stages=list(_stages(status)),
        text_rows=text_rows,
    )


def _rate(rate: Rate | None) -> str:
    return "-" if rate is None else f"{rate.value:.2f} [{rate.lower:.2f}, {rate.upper:.2f}] n {rate.samples}"


def _cell(rate: Rate | None) -> str:
    """Write a rate so that it breaks before its interval and before n, not within them."""
    return _rate(rate).replace(", ", ",\u00a0").replace(" n ", " n\u00a0")


def _causes(figures: EvaluationFigures) -> str:
    """Name what was errored and why: ` (NoAnswer 3; base: Babble 1)`."""
    tables = {
        "": figures.errored_causes,
        "base: ": figures.base_errored_causes,
        "comparisons: ": figures.errored_comparison_causes,
    }
    parts = [
        whose + ", ".join(f"{cause} {count}" for cause, count in table.items())
        for whose, table in tables.items()
        if table
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _win_set(run: HardeningRun) -> HarmSet:
    """Name the set whose win rate is shown: the gate's, where there is one."""
    gate = run.spec.promotion.gates.win_rate
    return "original" if gate is None else gate.set


def _decision(run: HardeningRun, status: HardeningRunStatus) -> str:
    if status.decisions:
        return status.decisions[-1].message
    return f"The run is {status.phase.lower()}: {round_of(status.round, run.spec.rounds)}."


def _headline(status: HardeningRunStatus, win_set: HarmSet) -> Iterator[tuple[str, str, str]]:
    """Yield (what, before, after) for the promoted round, or the last one."""
    if status.headline_round is None:
        return
    after = status.headline_round.first_figures
    for name, what in (("attacked", "harm rate under attack"), ("original", "harm rate, original prompts")):
        if name in after and after[name].harm_rate is not None:
            yield what, _rate(after[name].base_harm_rate), _rate(after[name].harm_rate)
    if "benign" in after and after["benign"].over_refusal is not None:
        yield "over-refusal", _rate(after["benign"].base_over_refusal), _rate(after["benign"].over_refusal)
    if win_set in after and after[win_set].win_rate is not None:
        yield f"win rate over the base, {win_set}", "", _rate(after[win_set].win_rate)


def _plots(run: HardeningRun, status: HardeningRunStatus, histograms: Mapping[str, AgreementSums]) -> dict[str, str]:
    gate = run.spec.promotion.gates.win_rate
    found = {
        "harm": plots.harm_rates(status),
        "win": plots.win_and_over_refusal(status, _win_set(run), None if gate is None else gate.min),
    }
    if any(entry.attack is not None for entry in status.rounds):
        found["diversity"] = plots.diversity(status)
    if histograms:
        found["agreement"] = plots.agreement(histograms)
    stages = [(number, stage) for number, stage in _stages(status) if stage.seconds]
    if stages:
        found["times"] = plots.stage_times(stages)
    return found


def _stages(status: HardeningRunStatus) -> Iterator[tuple[int, StageStatus]]:
    for entry in status.entries:
        for stage in entry.stages:
            yield entry.round, stage


def write_page(page: str, output: Path) -> Path:
    """Write a page to ``output`` and return it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    return output
