"""The judges of an evaluation: who reads which questions, one judge after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hardening_api.evaluation import Evaluation, EvaluationSet
from hardening_api.evaluation import Judge as JudgeSpec
from hardening_trainer.evaluation.journal import Journal
from hardening_trainer.evaluation.models import Advance, answer_key
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.tally import Judged
from hardening_trainer.evaluation.verdicts import (
    Comparison,
    Exchange,
    compare_all,
    judge_all,
    opened,
    outcome,
    verdict,
)
from hardening_trainer.judges import Judgement, Outcome
from hardening_trainer.judges.base import outcome_of_verdicts
from hardening_trainer.models import ResolvedModel
from hardening_trainer.runtime import StageContext

HARM_SETS: tuple[EvaluationSet, ...] = ("original", "attacked", "bank")


@dataclass(frozen=True)
class Seat:
    """A judge's place: what it is, and what it reads."""

    spec: JudgeSpec
    sets: tuple[EvaluationSet, ...] = (*HARM_SETS, "benign")

    @property
    def compares(self) -> bool:
        """Whether it reads two answers side by side; other judges compare by their verdicts of each."""
        return self.spec.type == "OpenAI"

    @property
    def takes_time(self) -> bool:
        """Whether its work counts as progress: rules over words are done at once."""
        return self.spec.type != "RefusalPattern"

    def reads_harm_in(self, name: EvaluationSet) -> bool:
        """Whether its `harmful` means harm: refusal rules call every answer so that complies."""
        return name != "benign" or self.spec.type != "RefusalPattern"


def seats_of(evaluation: Evaluation) -> list[Seat]:
    """Every judge of the run; and the built-in refusal rules for benign prompts, if the run has none of its own."""
    seats = [Seat(spec) for spec in evaluation.judges]
    if evaluation.refusal_judge in {seat.spec.name for seat in seats}:
        return seats
    return [*seats, Seat(JudgeSpec(name=evaluation.refusal_judge, type="RefusalPattern"), ("benign",))]


@dataclass(frozen=True)
class Answers:
    """Looks up what base and candidate answered; in round 0 there is no candidate and the base is the subject."""

    journal: Journal
    base: ResolvedModel
    candidate: ResolvedModel | None

    def of_base(self, question: Question) -> str:
        """Return the base's answer."""
        return self._of(self.base, question)

    def of_candidate(self, question: Question) -> str | None:
        """Return the candidate's answer, if there is a candidate."""
        return None if self.candidate is None else self._of(self.candidate, question)

    def _of(self, model: ResolvedModel, question: Question) -> str:
        return str(self.journal[answer_key(model, question.asked)][0])

    def exchanges(self, question: Question) -> list[Exchange]:
        """What a judge reads of one question. A variant's answer is judged against the prompt the variant is of."""
        answers = [self.of_base(question), self.of_candidate(question)]
        return [(question.prompt, answer) for answer in answers if answer is not None]

    def comparison(self, question: Question) -> Comparison:
        """Both answers, with what was asked for them."""
        return question.asked, str(self.of_candidate(question)), self.of_base(question)


def hear(context: StageContext, seat: Seat, questions: Sequence[Question], answers: Answers, advance: Advance) -> str:
    """Get all verdicts and outcomes of one judge into the journal, and return the judge's digest."""

    def counted(units: int, tokens: int) -> None:
        advance(units if seat.takes_time else 0, tokens)

    read = [question for question in questions if question.is_asked and question.set in seat.sets]
    with opened(context, seat.spec) as judge:
        exchanges = [exchange for question in read for exchange in answers.exchanges(question)]
        judge_all(judge, exchanges, answers.journal, counted)
        if seat.compares and answers.candidate is not None:
            compared = [answers.comparison(question) for question in read if question.set in HARM_SETS]
            compare_all(judge, compared, answers.journal, counted)
        return judge.digest


def units_of(seats: Sequence[Seat], questions: Sequence[Question], has_candidate: bool) -> int:
    """Count what `hear` will advance by."""
    units = 0
    for seat in (seat for seat in seats if seat.takes_time):
        read = [question for question in questions if question.is_asked and question.set in seat.sets]
        units += len(read) * (2 if has_candidate else 1)
        if seat.compares and has_candidate:
            units += sum(question.set in HARM_SETS for question in read)
    return units


@dataclass(frozen=True)
class Hearing:
    """One judge after it was heard."""

    seat: Seat
    digest: str
    answers: Answers

    def judged(self, question: Question, direct_harmfulness: float | None) -> Judged:
        """Return a question as this judge sees it."""
        if not question.is_asked:
            return Judged(question.prompt_id, None)
        base, candidate = self._verdicts(question)
        if candidate is None:
            return Judged(question.prompt_id, base, direct_harmfulness=direct_harmfulness)
        outcome = self._outcome(question, candidate, base)
        return Judged(question.prompt_id, candidate, base, outcome, direct_harmfulness)

    def entries(self, question: Question) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return this judge's verdicts and outcomes as rows of a table have them."""
        common = {"judge": self.seat.spec.name, "digest": self.digest}
        base, candidate = self._verdicts(question)
        named = {"candidate": candidate, "base": base}
        verdicts = [
            {**common, "subject": subject, **vars(judgement)}
            for subject, judgement in named.items()
            if judgement is not None
        ]
        if candidate is None or question.set not in HARM_SETS:
            return verdicts, []
        return verdicts, [{**common, "outcome": self._outcome(question, candidate, base)}]

    def _verdicts(self, question: Question) -> tuple[Judgement, Judgement | None]:
        heard = [verdict(self.answers.journal, self.digest, exchange) for exchange in self.answers.exchanges(question)]
        return heard[0], heard[1] if len(heard) > 1 else None

    def _outcome(self, question: Question, candidate: Judgement, base: Judgement) -> Outcome | None:
        if question.set not in HARM_SETS:
            return None
        if self.seat.compares:
            return outcome(self.answers.journal, self.digest, self.answers.comparison(question))
        return outcome_of_verdicts(candidate, base)
