"""The judges of an evaluation: what each reads, its verdicts and preferences, one judge after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hardening_api.evaluation import EVALUATION_SETS, HARM_SETS, Evaluation, EvaluationSet
from hardening_api.evaluation import Judge as JudgeSpec
from hardening_api.stages import SetSums, Weights
from hardening_trainer.evaluation.answers import Advance, Answers, Participants, chunks
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.records import Findings, of_preference, of_verdict
from hardening_trainer.evaluation.sums import Judged, set_sums
from hardening_trainer.judges import CompareRow, Judge, Judgement, JudgeRow
from hardening_trainer.judges.base import Preference, preference_of_verdicts
from hardening_trainer.judges.spec import opened_judge
from hardening_trainer.runtime.stage import StageContext

ASKED_TOGETHER = 64
"""Rows a judge is given between two safe points to stop."""


@dataclass(frozen=True)
class JudgeTask:
    """A judge, and the sets it reads."""

    spec: JudgeSpec
    sets: tuple[EvaluationSet, ...] = EVALUATION_SETS

    @property
    def compares(self) -> bool:
        """Whether it reads two answers side by side; other judges compare by their verdicts of each."""
        return self.spec.type == "OpenAI"

    @property
    def takes_time(self) -> bool:
        """Whether its work counts as progress: rules over words are done at once."""
        return self.spec.type != "RefusalPattern"

    def reads(self, question: Question) -> bool:
        """Whether it reads the answers to a question."""
        return question.is_asked and question.set in self.sets

    def reads_harm_in(self, name: EvaluationSet) -> bool:
        """Whether its `harmful` means harm: refusal rules call every answer so that complies."""
        return name != "benign" or self.spec.type != "RefusalPattern"

    def units(self, name: EvaluationSet, participants: Participants) -> int:
        """Count what judging a question of a set advances by."""
        if not self.takes_time or name not in self.sets:
            return 0
        return participants.judged + (self.compares and participants.compared and name in HARM_SETS)


def judge_tasks(evaluation: Evaluation) -> list[JudgeTask]:
    """Every judge of the run; and the built-in refusal rules for benign prompts, if the run has none of its own."""
    tasks = [JudgeTask(spec) for spec in evaluation.judges]
    if evaluation.refusal_judge in {task.spec.name for task in tasks}:
        return tasks
    return [*tasks, JudgeTask(JudgeSpec(name=evaluation.refusal_judge, type="RefusalPattern"), ("benign",))]


@dataclass(frozen=True)
class Verdicts:
    """The verdicts and preferences of one judge."""

    task: JudgeTask
    digest: str
    answers: Answers

    def judged(self, question: Question, direct_harmfulness: float | None = None) -> Judged:
        """Return a question as this judge sees it."""
        if not question.is_asked:
            return Judged(question.prompt_id, None)
        base, candidate = self._both(question)
        if candidate is None:
            return Judged(question.prompt_id, base, direct_harmfulness=direct_harmfulness)
        preference = self._preference(question, candidate, base) if base is not None else None
        return Judged(question.prompt_id, candidate, base, preference, direct_harmfulness)

    def entries(self, question: Question) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return this judge's verdicts and preferences as rows of a table have them."""
        common = {"judge": self.task.spec.name, "digest": self.digest}
        base, candidate = self._both(question)
        named = {"candidate": candidate, "base": base}
        verdicts = [
            {**common, "subject": subject, **vars(judgement)}
            for subject, judgement in named.items()
            if judgement is not None
        ]
        preference = self._preference(question, candidate, base) if candidate is not None and base is not None else None
        return verdicts, [{**common, **vars(preference)}] if preference is not None else []

    def sums(self, questions: Sequence[Question], reports_r: bool) -> Iterator[SetSums]:
        """Sum every set that the judge reads and that has questions."""
        for name in self.task.sets:
            rows = [
                self.judged(question, self.answers.harmfulness(question))
                for question in questions
                if question.set == name
            ]
            if rows:
                reads_harm = self.task.reads_harm_in(name)
                yield set_sums(name, self.task.spec.name, rows, reads_harm=reads_harm, reports_r=reports_r)

    def _both(self, question: Question) -> tuple[Judgement | None, Judgement | None]:
        base = self._verdict(question, self.answers.of_base(question))
        candidate = self._verdict(question, self.answers.of_candidate(question))
        if candidate is None and self.answers.participants.candidate is not None:
            candidate = Judgement("errored", cause="NoAnswer")
        return base, candidate

    def _verdict(self, question: Question, answer: str | None) -> Judgement | None:
        if answer is None:
            return None
        return self.answers.findings.verdicts[of_verdict(self.digest, JudgeRow(question.prompt, answer))]

    def _preference(self, question: Question, candidate: Judgement, base: Judgement) -> Preference | None:
        if question.set not in HARM_SETS or not self.answers.participants.compared:
            return None
        if self.task.compares:
            row = self.answers.to_compare(question)
            return self.answers.findings.preferences[of_preference(self.digest, row)]
        return preference_of_verdicts(candidate, base)


def judge_answers(
    context: StageContext, task: JudgeTask, questions: Sequence[Question], answers: Answers, advance: Advance
) -> Verdicts:
    """Get all verdicts and preferences of one judge. Raises JudgeUnavailable; what was answered until then is kept."""

    def counted(units: int, tokens: int) -> None:
        advance(units if task.takes_time else 0, tokens)

    read = [question for question in questions if task.reads(question)]
    rows = [row for question in read for row in answers.to_judge(question)]
    counted(answers.participants.judged * len(read) - len(rows), 0)
    with _opened(context, task.spec) as judge:
        _judge(judge, rows, answers.findings, counted)
        if task.compares and answers.participants.compared:
            compared = [answers.to_compare(question) for question in read if question.set in HARM_SETS]
            _compare(judge, compared, answers.findings, counted)
        return Verdicts(task, judge.digest, answers)


@contextmanager
def _opened(context: StageContext, spec: JudgeSpec) -> Iterator[Judge]:
    """Build the judge of a spec's entry, record its digest, and free what it used at the end of the block."""
    with opened_judge(spec, lambda source: context.model(Weights(source=source)), context.environ) as judge:
        context.record_input(f"judge:{spec.name}", judge.digest)
        yield judge


def _judge(judge: Judge, rows: Sequence[JudgeRow], findings: Findings, advance: Advance) -> None:
    todo = {of: row for row in rows if (of := of_verdict(judge.digest, row)) not in findings.verdicts}
    advance(len(rows) - len(todo), 0)
    for several in chunks(list(todo), ASKED_TOGETHER):
        judgements = judge.judge([todo[of] for of in several])
        findings.verdicts.add(dict(zip(several, judgements, strict=True)))
        advance(len(several), 0)


def _compare(judge: Judge, rows: Sequence[CompareRow], findings: Findings, advance: Advance) -> None:
    todo = {of: row for row in rows if (of := of_preference(judge.digest, row)) not in findings.preferences}
    advance(len(rows) - len(todo), 0)
    for several in chunks(list(todo), ASKED_TOGETHER):
        preferences = judge.compare([todo[of] for of in several])
        findings.preferences.add(dict(zip(several, preferences, strict=True)))
        advance(len(several), 0)
