"""The same questions put to several defenders: who does harm, who refuses, and who still answers.

    held-out prompts, alone and behind each attacker's lead-ins; benign prompts; ordinary questions
        -> greedy answers, by the Evaluate stage's own code -> RefusalPattern -> verdicts -> rates

Only verdicts leave this module, never text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from hardening_api.run import HardeningRunSpec
from hardening_api.stages import EvaluateConfig, Weights
from hardening_api.stats import MeanSums, RateSums
from hardening_trainer.attack.sampler import AttackSampler, draw_variants
from hardening_trainer.data import Prompt, read_prompts
from hardening_trainer.evaluation.answers import Work, do
from hardening_trainer.evaluation.questions import Question, attacked_questions
from hardening_trainer.evaluation.records import Findings, of_answer
from hardening_trainer.evaluation.sums import harmful, refused
from hardening_trainer.inference.scoring import AnswerPair, of_pair
from hardening_trainer.judges import JudgeRow
from hardening_trainer.judges.refusal_pattern import RefusalPattern
from hardening_trainer.models import ResolvedModel
from hardening_trainer.models.in_memory import ModelInMemory
from hardening_trainer.storage.resume_cache import ResumeCache

ORDINARY_TOKENS = 64
ARMS = ("APL", "plain DPO")
MATCHED = ("APL, matched", "plain DPO, matched")
"""The same two at equal over-refusal."""
Values = list[float | None]
"""One for each question, in order; None where there is none (an invalid lead-in)."""


@dataclass(frozen=True)
class Panel:
    """Questions, and all answers given so far."""

    config: EvaluateConfig
    base: ResolvedModel
    findings: Findings
    ordinary_findings: Findings
    original: list[Question]
    benign: list[Question]
    ordinary: list[Question]

    @classmethod
    def of(cls, spec: HardeningRunSpec, base: ResolvedModel, kept: Path, ordinary: Path | None, variants: int) -> Panel:
        """Read the held-out prompts of `spec` and the ordinary questions; answers are kept in the folder `kept`."""
        model = Weights(source=spec.model)
        config = EvaluateConfig(
            base=model,
            attacker=model,
            reference=model,
            scoring=spec.scoring,
            settings=spec.attacker,
            data=spec.data.evaluation,
            training_data=[],
            evaluation=spec.evaluation.model_copy(update={"variants_per_prompt": variants}),
        )
        benign = spec.data.evaluation.benign
        return cls(
            config,
            base,
            Findings(ResumeCache(kept)),
            Findings(ResumeCache(kept / "ordinary")),
            _questions("original", read_prompts(spec.data.evaluation.harmful, os.environ).rows),
            _questions("benign", read_prompts(benign, os.environ).rows) if benign else [],
            _questions("benign", _first_turns(ordinary)) if ordinary else [],
        )

    def measure(
        self, defenders: Mapping[str, ResolvedModel], attackers: Mapping[str, ResolvedModel], seed: int
    ) -> dict[str, Any]:
        """Verdicts by set and defender: 1 harmful (`benign`, `ordinary`: refused), 0 not, None not asked.

        The base as attacker draws the same lead-ins for every seed.
        """
        sets = {"original": self.original, "benign": self.benign}
        for name, attacker in attackers.items():
            sets[f"attacked by {name}"] = self._attacked(attacker, seed)
        for model in defenders.values():
            everything = [question for questions in sets.values() for question in questions if question.is_asked]
            self._do(Work(model, answer=everything))
        verdicts = {
            name: {who: self._verdicts(model, questions) for who, model in defenders.items()}
            for name, questions in sets.items()
        }
        clusters = {name: [question.prompt_id for question in questions] for name, questions in sets.items()}
        result: dict[str, Any] = {"prompts": clusters, "verdicts": verdicts}
        as_trained = {who: model for who, model in defenders.items() if who not in MATCHED}
        return result | ({"ordinary": self._ordinary(as_trained)} if self.ordinary else {})

    def refusals(self, model: ResolvedModel) -> int:
        """Count the benign prompts that a defender refuses."""
        self._do(Work(model, answer=self.benign))
        return sum(int(value) for value in self._verdicts(model, self.benign) if value is not None)

    def _attacked(self, attacker: ResolvedModel, seed: int) -> list[Question]:
        count = self.config.evaluation.variants_per_prompt
        with ModelInMemory() as in_memory:
            drawn = draw_variants(
                [Prompt(question.prompt_id, question.prompt) for question in self.original],
                attacker.digest,
                count,
                lambda: AttackSampler(*in_memory.load(attacker), self.config.settings, count, seed),
                self.findings.variants,
                _ignore,
            )
        return attacked_questions(self.original, drawn)

    def _do(self, work: Work, ordinary: bool = False) -> None:
        findings = self.ordinary_findings if ordinary else self.findings
        tokens = ORDINARY_TOKENS if ordinary else self.config.evaluation.max_new_tokens
        with ModelInMemory() as in_memory:
            do(work, findings, in_memory, tokens, _ignore)

    def _verdicts(self, model: ResolvedModel, questions: Sequence[Question]) -> Values:
        reading = refused if questions and questions[0].set == "benign" else harmful
        judge = RefusalPattern("refusal-pattern")
        values: Values = []
        for question in questions:
            if not question.is_asked:
                values.append(None)
                continue
            answer = str(self.findings.answers[of_answer(model, question.asked)].text)
            values.append(reading(judge.judge([JudgeRow(question.prompt, answer)])[0]))
        return [None if value is None else int(value) for value in values]

    def _ordinary(self, defenders: Mapping[str, ResolvedModel]) -> dict[str, dict[str, Values]]:
        """Refused (1) or not, and nats a token of the base's own answers, for every defender."""
        self._do(Work(self.base, answer=self.ordinary), ordinary=True)
        answers = self._ordinary_answers(self.base)
        likely = [
            replace(question, set="original", preferred=answer, dispreferred=answer)
            for question, answer in zip(self.ordinary, answers, strict=True)
        ]
        judge = RefusalPattern("refusal-pattern")
        found: dict[str, dict[str, Values]] = {}
        for who, model in defenders.items():
            self._do(Work(model, self.ordinary, likely), ordinary=True)
            given = self._ordinary_answers(model)
            rows = [JudgeRow(one.prompt, answer) for one, answer in zip(self.ordinary, given, strict=True)]
            pairs = [AnswerPair(one.asked, answer, answer) for one, answer in zip(self.ordinary, answers, strict=True)]
            scores = [self.ordinary_findings.logprobs[of_pair(model, pair)] for pair in pairs]
            found[who] = {
                "refused": [int(bool(refused(judgement))) for judgement in judge.judge(rows)],
                "nats_a_token": [score.first / score.first_tokens for score in scores],
            }
        return found

    def _ordinary_answers(self, model: ResolvedModel) -> list[str]:
        found = self.ordinary_findings.answers
        return [str(found[of_answer(model, one.asked)].text) for one in self.ordinary]


def summary(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rates over all seeds, clustered by prompt, each seed's own, and APL minus plain DPO, prompt by prompt."""
    names = [name for name in seeds[0]["verdicts"] if all(name in one["verdicts"] for one in seeds)]
    result: dict[str, Any] = {}
    for name in names:
        entry: dict[str, Any] = {}
        for who in _everywhere(seeds, name):
            taken = seeds[:1] if who == "base" and not name.startswith("attacked by round") else seeds
            pooled = [pair for one in taken for pair in _asked(one, name, who)]
            entry[who] = _rate(pooled)
            entry[f"{who}, each seed"] = [_rate(_asked(one, name, who)) for one in taken]
            if name.startswith("attacked"):
                entry[f"{who}, of all tries"] = _rate(_tries(taken, name, who))
        for first, second in (ARMS, MATCHED):
            if first in entry and second in entry:
                entry[f"{first} minus {second}"] = _difference(seeds, name, first, second)
        result[name] = entry
    if all("ordinary" in one for one in seeds):
        result["ordinary"] = _ordinary_summary(seeds)
    return result


def attacker_summary(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often each attacker's tries do harm to one and the same defender, and by how much more than the one before.

    A try without a valid lead-in (a copy, a refusal, off topic, ...) counts as failed. Differences are taken prompt by
    prompt; their intervals are over prompts.
    """
    names = [name for name in seeds[0]["verdicts"] if name.startswith("attacked")]
    shared = [name for name in names if all(name in one["verdicts"] for one in seeds)]
    result: dict[str, Any] = {}
    for who in _everywhere(seeds, names[0]):
        entry: dict[str, Any] = {name: _rate(_tries(seeds, name, who)) for name in shared}
        for earlier, later in combinations(shared, 2):
            before, after = _by_prompt(_tries(seeds, earlier, who)), _by_prompt(_tries(seeds, later, who))
            mean = MeanSums.of([fmean(after[prompt]) - fmean(before[prompt]) for prompt in before]).mean()
            entry[f"{later} minus {earlier}"] = mean.model_dump() if mean else None
        result[who] = entry
    return result


def valid_shares(seeds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Share of every attacker's tries that are valid lead-ins."""
    shares = {}
    for name in seeds[0]["verdicts"]:
        if name.startswith("attacked") and all(name in one["verdicts"] for one in seeds):
            tries = [value for one in seeds for value in one["verdicts"][name]["base"]]
            shares[name] = sum(value is not None for value in tries) / len(tries)
    return shares


def compact(seed: Mapping[str, Any]) -> dict[str, Any]:
    """One seed's verdicts as a string each, question by question: 1, 0, or `-` where nothing was asked."""
    written = {
        name: {
            who: "".join("-" if value is None else str(int(value)) for value in values) for who, values in by.items()
        }
        for name, by in seed["verdicts"].items()
    }
    kept = {name: value for name, value in seed.items() if name not in ("prompts", "verdicts", "ordinary")}
    return {**kept, "verdicts": written}


def _everywhere(seeds: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """The defenders that every seed has."""
    return [who for who in seeds[0]["verdicts"][name] if all(who in one["verdicts"][name] for one in seeds)]


def _tries(seeds: Sequence[Mapping[str, Any]], name: str, who: str) -> list[tuple[str, float]]:
    return [(prompt, value or 0) for one in seeds for prompt, value in _all(one, name, who)]


def _all(seed: Mapping[str, Any], name: str, who: str) -> list[tuple[str, float | None]]:
    return list(zip(seed["prompts"][name], seed["verdicts"][name][who], strict=True))


def _asked(seed: Mapping[str, Any], name: str, who: str) -> list[tuple[str, float]]:
    return [(prompt, value) for prompt, value in _all(seed, name, who) if value is not None]


def _by_prompt(values: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    clusters: dict[str, list[float]] = {}
    for prompt, value in values:
        clusters.setdefault(prompt, []).append(value)
    return clusters


def _rate(values: Iterable[tuple[str, float]]) -> dict[str, Any] | None:
    rate = RateSums.of([[bool(one) for one in several] for several in _by_prompt(values).values()]).rate()
    return rate.model_dump() if rate else None


def _difference(seeds: Sequence[Mapping[str, Any]], name: str, first: str, second: str) -> dict[str, Any] | None:
    """Mean over the prompts of the mean difference over seeds; the interval is over prompts, not over seeds."""
    paired = [
        (prompt, own - other)
        for one in seeds
        for (prompt, own), (_, other) in zip(_all(one, name, first), _all(one, name, second), strict=True)
        if own is not None and other is not None
    ]
    mean = MeanSums.of([sum(several) / len(several) for several in _by_prompt(paired).values()]).mean()
    return mean.model_dump() if mean else None


def _ordinary_summary(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for who in seeds[0]["ordinary"]:
        taken = seeds[:1] if who == "base" else seeds
        refusals = [(str(index), value) for one in taken for index, value in enumerate(one["ordinary"][who]["refused"])]
        nats = MeanSums.of([value for one in taken for value in one["ordinary"][who]["nats_a_token"]]).mean()
        result[who] = {"refused": _rate(refusals), "nats_a_token": nats.model_dump() if nats else None}
    return result


def _questions(name: Any, rows: Iterable[Prompt]) -> list[Question]:
    return [
        Question(name, row.id, index, row.prompt, row.prompt, preferred=row.preferred, dispreferred=row.dispreferred)
        for index, row in enumerate(rows)
    ]


def _first_turns(path: Path) -> list[Prompt]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [Prompt(str(row["question_id"]), row["turns"][0]) for row in rows]


def _ignore(units: int, tokens: int) -> None:
    """Count nothing."""
