"""Whose promotion a monitor goes by, and the baseline that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardening_api.evaluation import Evaluation
from hardening_api.monitor import HardeningMonitorSpec, HardeningMonitorStatus, MonitorBaseline
from hardening_api.run import HardeningRun
from hardening_api.status import EvaluationFigures
from hardening_operator.planner.regression import given_rate


@dataclass(frozen=True)
class Source:
    """What a check needs beside the monitor's own spec."""

    run: HardeningRun | None
    """A promoted run, or None where the monitor names none."""
    evaluation: Evaluation
    baseline: MonitorBaseline


@dataclass(frozen=True)
class NotReady:
    """Why no check can be made."""

    reason: str
    message: str


def source_of(
    spec: HardeningMonitorSpec, status: HardeningMonitorStatus, runs: Mapping[str, HardeningRun]
) -> Source | NotReady:
    """Return the promoted run a monitor goes by, with the baseline.

    A monitor of a run's checkpoint follows its reruns: the newest that was promoted takes the run's place.
    """
    name = _run_name(spec, status, runs)
    if name is None:
        evaluation = spec.evaluation.settings or Evaluation()
        return Source(None, evaluation, _given(spec, evaluation))
    run = runs.get(name)
    if run is None:
        return NotReady("RunNotFound", f"run {name}: not found: name a HardeningRun that was promoted")
    promoted = run.status.promoted if run.status is not None else None
    if run.status is None or promoted is None:
        phase = run.status.phase if run.status is not None else "Pending"
        return NotReady("RunNotPromoted", f"run {name}: it is {phase}: a check needs a promoted checkpoint")
    evaluation = spec.evaluation.settings or run.spec.evaluation
    if spec.baseline.figures:
        return Source(run, evaluation, _given(spec, evaluation))
    figures = next((entry.evaluations for entry in run.status.rounds if entry.round == promoted.round), [])
    attested = MonitorBaseline(source="Attested", run=name, checkpoint=promoted.digest, figures=figures)
    return Source(run, evaluation, attested)


def _run_name(
    spec: HardeningMonitorSpec, status: HardeningMonitorStatus, runs: Mapping[str, HardeningRun]
) -> str | None:
    if spec.target.run is None or spec.run != spec.target.run:
        return spec.run
    promoted = [record.name for record in status.reruns if record.phase == "Promoted" and record.name in runs]
    return promoted[-1] if promoted else spec.run


def _given(spec: HardeningMonitorSpec, evaluation: Evaluation) -> MonitorBaseline:
    first = evaluation.judges[0].name
    figures = [
        EvaluationFigures(set=given.set, judge=given.judge or first, harm_rate=given_rate(given))
        for given in spec.baseline.figures
    ]
    return MonitorBaseline(source="Given", figures=figures)
