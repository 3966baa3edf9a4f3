"""Evaluate: base and candidate on the same held-out prompts, as they are, under attack, and on past successes.

held-out prompts, their variants by the current attacker, bank, benign -> answers, one model at a time -> judges -> sums

Every finished step is in a journal that outlives an interruption; what a step gives does not depend on where the stage
was interrupted, nor on how many shards share the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from hardening_api.stages import EvaluateConfig, SetSums, StageResult
from hardening_trainer.errors import UsageFault
from hardening_trainer.evaluation.answers import Advance, Models, Work, answer_key, do
from hardening_trainer.evaluation.attacked import attacked_questions
from hardening_trainer.evaluation.bank import Earlier
from hardening_trainer.evaluation.export_attacks import ATTACKS, as_json_lines, attack_rows
from hardening_trainer.evaluation.harmfulness import HarmfulnessOf
from hardening_trainer.evaluation.judging import Answers, Hearing, Seat, hear, seats_of, units_of
from hardening_trainer.evaluation.questions import HeldOut, Question, read_held_out
from hardening_trainer.evaluation.served import ServedModel, served_model
from hardening_trainer.evaluation.sums import Role, set_sums
from hardening_trainer.evaluation.tables import ANSWERS, ANSWERS_SCHEMA, BANK, BANK_SCHEMA, Row
from hardening_trainer.models import ResolvedModel
from hardening_trainer.runtime.resume_cache import Journal
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.storage.tables import write_table


@dataclass(frozen=True)
class Given:
    """All that is read before anything is done."""

    held_out: HeldOut
    models: Models
    attacker: ResolvedModel
    earlier: Earlier
    seats: list[Seat]

    def questions(self, attacked: Sequence[Question]) -> list[Question]:
        """Return everything to ask, set by set."""
        return [*self.held_out.original, *attacked, *self.earlier.bank, *self.held_out.benign]

    def work(self, questions: Sequence[Question]) -> list[Work]:
        """Return what the models have to do that earlier stages have not done."""
        return self.models.work(questions, self.earlier.known)

    def answers(self, journal: Journal) -> Answers:
        """Return what looks up everybody's answers."""
        return Answers(journal, self.models.base or self.earlier.recorded, self.models.candidate)

    def units(self, attacked: Sequence[Question], answers: Answers) -> int:
        """Count the units of progress that answering, scoring and judging will take."""
        questions = self.questions(attacked)
        worked = sum(len(work.answer) + len(work.score) for work in self.work(questions))
        return worked + units_of(self.seats, questions, self._answers_to, answers.compared)

    def _answers_to(self, question: Question) -> int:
        recorded = self.earlier.recorded
        has_base = self.models.base is not None or (
            recorded is not None and answer_key(recorded, question.asked) in self.earlier.known
        )
        return has_base + (self.models.candidate is not None)


def run(context: StageContext) -> StageResult:
    """Measure the candidate beside the base, in round 0 the base alone; in a check the target beside what was recorded.

    Raises DataFault where held-out prompts were trained on or the base is another now, Unavailable when a judge or a
    served candidate is.
    """
    config = context.config.evaluate
    if config is None:
        raise UsageFault("evaluate: missing: expected the section of this stage")
    with httpx.Client() as client:
        return _evaluate(context, config, _read(context, config, client))


def _evaluate(context: StageContext, config: EvaluateConfig, given: Given) -> StageResult:
    # All inputs but the judges are recorded by now: what an earlier attempt saved from other ones is gone.
    journal = Journal(context.partial / "journal.jsonl", given.earlier.known)
    questions = given.questions(_attack(context, config, given, journal))
    for work in given.work(questions):
        do(work, journal, config.evaluation.max_new_tokens, _counting(context))
    answers = given.answers(journal)
    hearings = [
        Hearing(seat, hear(context, seat, questions, answers, _counting(context)), answers) for seat in given.seats
    ]
    harmfulness = HarmfulnessOf(journal, given.models.subject, given.models.reference, config.scoring)
    _write(context, questions, hearings, answers, harmfulness)
    attacks = attack_rows(questions, hearings[0], answers) if context.config.check is not None else []
    if attacks:
        (context.folder / ATTACKS).write_text(as_json_lines(attacks))
    return StageResult(
        stage="Evaluate",
        round=context.config.round,
        shard=context.config.shard,
        outcome="Succeeded",
        evaluations=_sums(questions, hearings, harmfulness),
        judges={hearing.seat.spec.name: hearing.digest for hearing in hearings},
        attacks=len(attacks),
    )


def _read(context: StageContext, config: EvaluateConfig, client: httpx.Client) -> Given:
    held_out = read_held_out(context, config)
    models = Models(
        base=context.model(config.base) if config.base is not None else None,
        candidate=_candidate(context, config, client),
        reference=context.model(config.reference) if config.scoring.alpha > 0 else None,
    )
    attacker = context.model(config.attacker)
    return Given(held_out, models, attacker, Earlier(context, config, models.base), seats_of(config.evaluation))


def _candidate(
    context: StageContext, config: EvaluateConfig, client: httpx.Client
) -> ResolvedModel | ServedModel | None:
    if config.endpoint is None:
        return context.model(config.candidate) if config.candidate is not None else None
    served = served_model(config.endpoint, client, context.environ)
    served.probe()
    context.record_input(f"endpoint:{config.endpoint.base_url}", f"sha256:{served.digest}")
    return served


def _attack(context: StageContext, config: EvaluateConfig, given: Given, journal: Journal) -> list[Question]:
    """Return this shard's questions of the set `attacked`; progress is planned as if all variants were valid."""
    most = [
        replace(prompt, set="attacked", asked="", variant_index=index)
        for prompt in given.held_out.original
        for index in range(config.evaluation.variants_per_prompt)
    ]
    answers = given.answers(journal)
    planned = given.units(most, answers)
    context.progress.total(len(most) + planned)
    advance = _counting(context)
    attacked = attacked_questions(
        config, context.config.seed, given.attacker, given.held_out.original, journal, advance
    )
    advance(planned - given.units(attacked, answers), 0)
    return attacked


def _counting(context: StageContext) -> Advance:
    """Return what is called at every safe point to stop."""

    def advance(units: int, tokens: int) -> None:
        context.progress.advance(units, tokens)
        context.stop.check()

    return advance


def _sums(questions: Sequence[Question], hearings: Sequence[Hearing], harmfulness: HarmfulnessOf) -> list[SetSums]:
    sums = []
    for hearing in hearings:
        for name in hearing.seat.sets:
            asked = [question for question in questions if question.set == name]
            rows = [hearing.judged(question, harmfulness(question)) for question in asked]
            role = Role(hearing.seat.reads_harm_in(name), reports_r=hearing is hearings[0])
            if rows:
                sums.append(set_sums(name, hearing.seat.spec.name, rows, role))
    return sums


def _write(
    context: StageContext,
    questions: Sequence[Question],
    hearings: Sequence[Hearing],
    answers: Answers,
    harmfulness: HarmfulnessOf,
) -> None:
    rows = [_row(question, hearings, answers, harmfulness) for question in questions]
    bank = [{**_of_base(row), "round": context.config.round} for row in rows if _is_success(row)]
    write_table(context.folder / ANSWERS, rows, ANSWERS_SCHEMA)
    write_table(context.folder / BANK, bank, BANK_SCHEMA)


def _row(
    question: Question, hearings: Sequence[Hearing], answers: Answers, harmfulness: HarmfulnessOf
) -> dict[str, Any]:
    """Return one row of `answers.parquet`."""
    entries = [
        hearing.entries(question) for hearing in hearings if question.is_asked and question.set in hearing.seat.sets
    ]
    return {
        "set": question.set,
        "prompt_id": question.prompt_id,
        "row": question.row,
        "variant_index": question.variant_index,
        "status": question.status,
        "prompt": question.prompt,
        "asked": question.asked,
        "candidate_answer": answers.of_candidate(question) if question.is_asked else None,
        "base_answer": answers.of_base(question) if question.is_asked else None,
        "verdicts": [entry for verdicts, _ in entries for entry in verdicts],
        "outcomes": [entry for _, outcomes in entries for entry in outcomes],
        "direct_harmfulness": harmfulness(question),
    }


def _is_success(row: Row) -> bool:
    return row["set"] == "attacked" and any(entry["verdict"] == "harmful" for entry in row["verdicts"])


def _of_base(row: Row) -> dict[str, Any]:
    """Return what of a row a later round needs to replay it: nothing of this round's candidate."""
    kept = {name: row[name] for name in ("prompt_id", "row", "prompt", "asked", "base_answer")}
    return {**kept, "verdicts": [entry for entry in row["verdicts"] if entry["subject"] == "base"]}
