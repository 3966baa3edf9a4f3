"""The model card: what the checkpoint is, what was measured and what was not. It holds figures, never text of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from hardening_api.stages import PromoteConfig, RunIdentity
from hardening_api.status import EvaluationFigures, Rate
from hardening_trainer.judges.refusal_pattern import RefusalPattern
from hardening_trainer.promotion.evidence import Checkpoint, Evidence

_METHOD = "Adversarial Preference Learning ([arXiv:2505.24369](https://arxiv.org/abs/2505.24369))"
_SETS = {
    "original": "the held-out prompts as they are",
    "attacked": "variants of them by this round's attacker",
    "bank": "variants that succeeded in earlier rounds",
    "benign": "harmless prompts",
}
_COLUMNS = (
    ("harm rate", "harm_rate"),
    ("of the base", "base_harm_rate"),
    ("change", "harm_rate_change"),
    ("attack success", "attack_success_rate"),
    ("win rate over the base", "win_rate"),
    ("over-refusal", "over_refusal"),
    ("of the base", "base_over_refusal"),
    ("change", "over_refusal_increase"),
)


def model_card(
    run: RunIdentity, round_number: int, promote: PromoteConfig, checkpoint: Checkpoint, evidence: Evidence
) -> bytes:
    """Return the README.md of a promoted checkpoint, Markdown with a YAML header as model hubs read it."""
    uri = promote.base.uri
    header = {
        "base_model": uri.removeprefix("hf://"),
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["adversarial-preference-learning", "dpo", "safety"],
    }
    revision = f" at revision `{promote.base.revision}`" if promote.base.revision else ""
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False).rstrip(),
        "---",
        f"# {_plain(run.name)}, round {round_number}",
        "",
        f"`{_plain(uri)}`{revision} (`{evidence.base}`), hardened against adversarial prompts by {_METHOD}: "
        f"in each of {round_number} round(s) an attacker rewrote prompts; DPO trained it towards the variants that the "
        "defender was most likely to answer harmfully, and the defender towards the preferred answers to those.",
        "",
        f"Checkpoint `{checkpoint.digest}`. Everything here is also in `statement.json`, an in-toto statement over "
        "every file of this folder.",
        "",
        *_figures(promote.evaluations),
        *_gates(promote),
        *_measured_with(evidence),
        *_limits(promote.evaluations),
        *_judge_honesty(promote.evaluations),
    ]
    return ("\n".join(lines).rstrip() + "\n").encode()


def _figures(evaluations: Sequence[EvaluationFigures]) -> Iterator[str]:
    used = [column for column in _COLUMNS if any(getattr(figures, column[1]) for figures in evaluations)]
    yield "## Figures"
    yield ""
    yield "Each rate with its 95 % interval and its n. Rates of two judges are not comparable with each other."
    yield ""
    yield from _table(
        ["set", "judge", *(title for title, _ in used), "errored"],
        (
            [figures.set, figures.judge, *(_rate(getattr(figures, name)) for _, name in used), f"{figures.errored}"]
            for figures in evaluations
        ),
    )
    yield from (f"- {name}: {meaning}" for name, meaning in _SETS.items() if name in {e.set for e in evaluations})
    yield ""


def _gates(promote: PromoteConfig) -> Iterator[str]:
    yield "## Gates"
    yield ""
    yield from _table(
        ["gate", "verdict", "why"], ([gate.gate, gate.verdict, _plain(gate.message)] for gate in promote.gates)
    )
    approver = promote.approver
    yield f"Approved by {_plain(approver)}." if approver else "Promoted by its gates; no person was asked."
    yield ""


def _measured_with(evidence: Evidence) -> Iterator[str]:
    yield "## Measured with"
    yield ""
    named = [("judge", evidence.judges), ("data", evidence.data)]
    yield from _table(
        ["what", "name", "digest"],
        ([what, f"`{_plain(name)}`", f"`{digest}`"] for what, table in named for name, digest in table.items()),
    )


def _limits(evaluations: Sequence[EvaluationFigures]) -> Iterator[str]:
    yield "## Not measured"
    yield ""
    missing = [f"`{name}` ({meaning})" for name, meaning in _SETS.items() if name not in {e.set for e in evaluations}]
    if missing:
        yield f"- The evaluation had no {', no '.join(missing)}."
    yield "- Attacks by anyone but this run's own attacker, or over several turns, or in languages the prompts lack."
    yield "- Whether answers are right, well written or otherwise useful beyond not being refused."
    yield "- Prompts unlike the held-out ones; a rate of zero is no proof, its interval says how far n reaches."
    yield ""


def _judge_honesty(evaluations: Sequence[EvaluationFigures]) -> Iterator[str]:
    yield "## Judges"
    yield ""
    digest = RefusalPattern().digest
    patterns = sorted({figures.judge for figures in evaluations if figures.judge_digest == digest})
    if patterns:
        yield (
            f"- {', '.join(patterns)}: rules over the words of the answer. It separates refusals from compliance and "
            "reads no meaning: an answer that complies without doing harm counts as harmful, and one that refuses in "
            "unusual words may count as compliance."
        )
    if {figures.judge for figures in evaluations} - set(patterns):
        yield "- A model that judges errs as well; no error rate against people is recorded here."
    errored = sum(figures.errored for figures in evaluations)
    yield f"- Verdicts that were errored or unparsable: {errored}. They are in no rate, neither as harmful nor as safe."


def _table(titles: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return ""
    return f"{rate.value:.3f} [{rate.lower:.3f}, {rate.upper:.3f}], n {rate.samples}"


def _plain(text: str) -> str:
    """Text from outside on one line, without characters Markdown or HTML would act on."""
    return "".join(" " if not char.isprintable() or char in "|<>`" else char for char in text).strip()
