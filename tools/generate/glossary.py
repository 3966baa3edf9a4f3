"""The glossary of metrics, made from the code that exports them."""

from __future__ import annotations

from collections.abc import Iterable

from hardening_api.stages import GPU_LABELS, STAGE_COUNTERS, STAGE_GAUGES, STAGE_GPU_GAUGES, STAGE_LABELS
from hardening_operator.metrics.catalogue import CATALOGUE, SOURCES, Metric
from hardening_operator.metrics.exporter import SIZE_LIMIT
from hardening_operator.metrics.run_series import DETAILED_ROUNDS

HEAD = f"""# Metrics

Made from the code by `make generate`; do not edit. How to scrape them, the dashboard and the alerts:
[monitoring.md](monitoring.md).

No label holds text, a prompt or the id of one. Exemplars are not used.

A name with `(+)` stands for four metrics: the figure itself, `_lower` and `_upper`, the ends of its 95 % interval, and
`_samples`, what it rests on; `(3)` for the first three, `(2)` for the figure and `_lower`.

## How many series

What is exported of a run is bounded: everything of its last {DETAILED_ROUNDS} rounds, the main figures of the rounds
before. A run of 3 rounds with two judges has about 430 series (60 kB), a monitor with one judge about 35 (5 kB).
All runs together take at most {SIZE_LIMIT / 1e6:.1f} MB of text, with any number of them:

| detail | which runs | which metrics |
|---|---|---|
| full | live runs first, then those started last, while there is room | all |
| short | every live run | those marked `short` and `summary` |
| summary | every run | those marked `summary`: about 9 series (1.1 kB) |
| none | beyond that, those started first | none |

`hardening_exported_runs{{detail}}` counts them. What a run no longer exports stays in Prometheus' own history. A scrape
with 1,000 runs takes 1.7 MB (54 kB with gzip, as Prometheus asks for it) and 0.2 s of one core:
`benchmarks/results/metrics_scrape.json`, made by `python -m benchmarks.metrics_scrape`.
"""
LABELS = """## Labels

| label | values |
|---|---|
| `namespace`, `run`, `monitor` | of the resource; at most as many as there are |
| `round` | 0 for the base, then 1 to `spec.rounds` (at most 100) |
| `subject` | `base`, `candidate`, `promoted` |
| `set` | `original`, `attacked`, `bank`, `benign` |
| `judge` | names in `spec.evaluation.judges` (at most 4) and the built-in one |
| `stage` | `Attack`, `Score`, `TrainAttacker`, `TrainDefender`, `Evaluate`, `Promote` |
| `phase` | the eight phases of a run |
| `reason` | CamelCase words of conditions and events, a fixed vocabulary |
| `gate` | `winRate`, `harmRate`, `overRefusal` |
| `verdict` | a gate's: `Pass`, `Fail`, `Inconclusive`; a judge's: `harmful`, `safe`, `refused`, `answered`, `errored` |
| `role` | `attacker`, `defender` |
| `outcome`, `variants` | `Valid`, or why a variant was rejected; `Valid`, `Selected` |
| `uid`, `model`, `approval`, `rounds` | of `hardening_run_info` only: one series a run |
"""
PARTS = {1: "", 2: " (2)", 3: " (3)", 4: " (+)"}


def build_glossary() -> str:
    """Return docs/metrics.md."""
    parts = [HEAD, LABELS]
    for source, title in SOURCES.items():
        own = [metric for metric in CATALOGUE if metric.source == source]
        parts.append(f"## {title}\n\n{_table(own, source == 'run')}")
    parts.append(f"## Of each stage's pods\n\n{_stages()}")
    return "\n".join(parts)


def _table(metrics: Iterable[Metric], of_runs: bool) -> str:
    head = "| name | type | labels | what |" + (" detail |" if of_runs else "")
    lines = [head, "|---" * head.count(" |") + "|"]
    for metric in metrics:
        name = f"`{metric.name}`{PARTS[len(metric.parts)]}"
        cells = [name, metric.kind, _labels(metric.labels), metric.help]
        lines.append("| " + " | ".join([*cells, metric.detail] if of_runs else cells) + " |")
    return "\n".join(lines) + "\n"


def _stages() -> str:
    lines = ["| name | type | labels | what |", "|---|---|---|---|"]
    for kind, labels, metrics in (
        ("gauge", STAGE_LABELS, STAGE_GAUGES),
        ("counter", STAGE_LABELS, STAGE_COUNTERS),
        ("gauge", GPU_LABELS, STAGE_GPU_GAUGES),
    ):
        lines += [f"| `{name}` | {kind} | {_labels(labels)} | {text} |" for name, text in metrics.items()]
    return "\n".join(lines) + "\n"


def _labels(labels: Iterable[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels)
