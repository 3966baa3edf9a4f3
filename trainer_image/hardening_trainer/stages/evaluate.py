"""Evaluate: base and candidate on the same held-out prompts, as they are, under attack, and on past successes.

held-out prompts, their variants by the current attacker, bank, benign -> answers, one model at a time -> judges -> sums

Every finding is kept as soon as it is made; what the stage finds does not depend on where it was interrupted, nor on
how many shards share the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import httpx

from hardening_api.stages import EvaluateConfig, StageResult
from hardening_trainer.attack.sampler import AttackSampler, draw_variants
from hardening_trainer.data import Prompt
from hardening_trainer.evaluation.answers import Answers, Participants, do
from hardening_trainer.evaluation.earlier import Earlier, read_earlier
from hardening_trainer.evaluation.export_attacks import ATTACKS, as_json_lines, attack_rows
from hardening_trainer.evaluation.judging import JudgeTask, Verdicts, judge_answers, judge_tasks
from hardening_trainer.evaluation.questions import HeldOut, Question, attacked_questions, read_held_out
from hardening_trainer.evaluation.records import Findings
from hardening_trainer.evaluation.served import ServedModel, served_model
from hardening_trainer.evaluation.tables import ANSWERS, ANSWERS_SCHEMA, BANK, BANK_SCHEMA, answers_row, bank_row
from hardening_trainer.models import ResolvedModel
from hardening_trainer.models.in_memory import ModelInMemory
from hardening_trainer.models.load import end_of_turn_notice
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.storage.resume_cache import ResumeCache
from hardening_trainer.storage.tables import write_table


@dataclass(frozen=True)
class Given:
    """Everything the stage reads before it starts."""

    held_out: HeldOut
    participants: Participants
    attacker: ResolvedModel
    earlier: Earlier
    tasks: list[JudgeTask]

    def questions(self, attacked: Sequence[Question]) -> list[Question]:
        """Return everything to ask, set by set."""
        return [*self.held_out.original, *attacked, *self.earlier.bank, *self.held_out.benign]

    def units(self, question: Question) -> int:
        """Count the units of progress that a question takes if it is asked: answers, scores, verdicts, outcomes."""
        judging = sum(task.units(question.set, self.participants) for task in self.tasks)
        return self.participants.units(question) + judging


def run(context: StageContext) -> StageResult:
    """Measure the candidate beside the base, in round 0 the base alone; in a check the target beside what was recorded.

    Raises DataFault where held-out prompts were trained on or the base is another now, Unavailable when a judge or a
    served candidate is.
    """
    config = context.section(EvaluateConfig)
    with httpx.Client() as client:
        return _evaluate(context, config, _read(context, config, client))


def _read(context: StageContext, config: EvaluateConfig, client: httpx.Client) -> Given:
    held_out = read_held_out(context, config)
    base = context.model(config.base) if config.base is not None else None
    candidate = _candidate(context, config, client)
    reference = context.model(config.reference) if config.scoring.alpha > 0 else None
    attacker = context.model(config.attacker)
    earlier = read_earlier(context, config, base)
    participants = Participants(base or earlier.recorded, candidate, reference)
    return Given(held_out, participants, attacker, earlier, judge_tasks(config.evaluation))


def _candidate(
    context: StageContext, config: EvaluateConfig, client: httpx.Client
) -> ResolvedModel | ServedModel | None:
    if config.endpoint is None:
        return context.model(config.candidate) if config.candidate is not None else None
    served = served_model(config.endpoint, client, context.environ)
    served.probe()
    context.record_input(f"endpoint:{config.endpoint.base_url}", f"sha256:{served.digest}")
    return served


def _evaluate(context: StageContext, config: EvaluateConfig, given: Given) -> StageResult:
    # All inputs but the judges are recorded by now: what an earlier attempt saved from other ones is gone.
    findings = Findings(ResumeCache(context.partial, context.keep_partial))
    given.earlier.teach(findings)
    answers = Answers(findings, given.participants, config.scoring)
    with ModelInMemory() as in_memory:
        questions = given.questions(_attack(context, config, given, findings, in_memory))
        for work in given.participants.work(questions):
            do(work, findings, in_memory, config.evaluation.max_new_tokens, context.advance)
    judged = [judge_answers(context, task, questions, answers, context.advance) for task in given.tasks]
    _write(context, questions, answers, judged)
    attacks = attack_rows(questions, judged[0], answers) if context.config.check is not None else []
    if attacks:
        (context.folder / ATTACKS).write_text(as_json_lines(attacks))
    return StageResult(
        stage="Evaluate",
        round=context.config.round,
        shard=context.config.shard,
        outcome="Succeeded",
        message=_endless(given.participants),
        evaluations=[sums for each in judged for sums in each.sums(questions, reports_r=each is judged[0])],
        judges={each.task.spec.name: each.digest for each in judged},
        attacks=len(attacks),
    )


def _endless(participants: Participants) -> str | None:
    """Return a notice if a model that answers here has a chat template without an end of turn."""
    for name, model in (("base", participants.base), ("candidate", participants.candidate)):
        notice = end_of_turn_notice(model.path) if isinstance(model, ResolvedModel) else None
        if notice is not None:
            return f"{name}: {notice}"
    return None


def _attack(
    context: StageContext, config: EvaluateConfig, given: Given, findings: Findings, in_memory: ModelInMemory
) -> list[Question]:
    """Return this shard's questions of the set `attacked`; progress is planned as if all variants were valid."""
    prompts, count = given.held_out.original, config.evaluation.variants_per_prompt
    of_variants = [1 + given.units(replace(prompt, set="attacked")) for prompt in prompts]
    context.progress.total(sum(of_variants) * count + sum(map(given.units, given.questions([]))))
    drawn = draw_variants(
        [Prompt(prompt.prompt_id, prompt.prompt) for prompt in prompts],
        given.attacker.digest,
        count,
        lambda: AttackSampler(*in_memory.load(given.attacker), config.settings, count, context.config.seed),
        findings.variants,
        context.advance,
    )
    questions = attacked_questions(prompts, drawn)
    context.advance(sum(given.units(question) for question in questions if not question.is_asked))
    return questions


def _write(context: StageContext, questions: Sequence[Question], answers: Answers, judged: Sequence[Verdicts]) -> None:
    rows = [answers_row(question, answers, judged) for question in questions]
    bank = [kept for row in rows if (kept := bank_row(row, context.config.round)) is not None]
    write_table(context.folder / ANSWERS, rows, ANSWERS_SCHEMA)
    write_table(context.folder / BANK, bank, BANK_SCHEMA)
