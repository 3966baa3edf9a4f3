"""The judges of an evaluation: who reads which questions, one judge after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hardening_api.evaluation import Evaluation, EvaluationSet
from hardening_api.evaluation import Judge as JudgeSpec
from hardening_trainer.evaluation.answers import Advance, Answering, Recorded, answer_key
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.sums import Judged
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
from hardening_trainer.judges.base import preference_of_verdicts
from hardening_trainer.runtime.resume_cache import Journal
from hardening_trainer.runtime.stage import StageContext

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
    """Looks up what base and candidate answered; in round 0 there is no candidate and the base is the subject.

    In a monitor's check the base is the recorded candidate, or nobody.
    """

    journal: Journal
    base: Answering | None
    candidate: Answering | None

    @property
    def compared(self) -> bool:
        """Whether answers of base and candidate are compared with each other, beyond their verdicts."""
        return self.candidate is not None and self.base is not None and not isinstance(self.base, Recorded)

    def of_base(self, question: Question) -> str | None:
        """Return the base's answer; None where it was not recorded."""
        return self._of(self.base, question)

    def of_candidate(self, question: Question) -> str | None:
        """Return the candidate's answer; None where there is no candidate, or a served one gave none."""
        return self._of(self.candidate, question)

    def _of(self, model: Answering | None, question: Question) -> str | None:
        if model is None:
            return None
        key = answer_key(model, question.asked)
        if isinstance(model, Recorded) and key not in self.journal:
            return None
        answer: str | None = self.journal[key][0]
        return answer

    def exchanges(self, question: Question) -> list[Exchange]:
        """What a judge reads of one question. A variant's answer is judged against the prompt the variant is of."""
        answers = [self.of_base(question), self.of_candidate(question)]
        return [(question.prompt, answer) for answer in answers if answer is not None]

    def comparison(self, question: Question) -> Comparison:
        """Both answers, with what was asked for them."""
        return question.asked, str(self.of_candidate(question)), str(self.of_base(question))


def hear(context: StageContext, seat: Seat, questions: Sequence[Question], answers: Answers, advance: Advance) -> str:
    """Get all verdicts and outcomes of one judge into the journal, and return the judge's digest."""

    def counted(units: int, tokens: int) -> None:
        advance(units if seat.takes_time else 0, tokens)

    read = [question for question in questions if question.is_asked and question.set in seat.sets]
    with opened(context, seat.spec) as judge:
        exchanges = [exchange for question in read for exchange in answers.exchanges(question)]
        judge_all(judge, exchanges, answers.journal, counted)
        if seat.compares and answers.compared:
            compared = [answers.comparison(question) for question in read if question.set in HARM_SETS]
            compare_all(judge, compared, answers.journal, counted)
        return judge.digest


def units_of(
    seats: Sequence[Seat], questions: Sequence[Question], answers_to: Callable[[Question], int], compared: bool
) -> int:
    """Count what `hear` will advance by; `answers_to` says how many answers to a question are judged."""
    units = 0
    for seat in (seat for seat in seats if seat.takes_time):
        read = [question for question in questions if question.is_asked and question.set in seat.sets]
        units += sum(answers_to(question) for question in read)
        if seat.compares and compared:
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
        outcome = self._outcome(question, candidate, base) if base is not None else None
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
        if candidate is None or base is None or not self.answers.compared or question.set not in HARM_SETS:
            return verdicts, []
        return verdicts, [{**common, "outcome": self._outcome(question, candidate, base)}]

    def _verdicts(self, question: Question) -> tuple[Judgement | None, Judgement | None]:
        base = self._verdict(question, self.answers.of_base(question))
        candidate = self._verdict(question, self.answers.of_candidate(question))
        if candidate is None and self.answers.candidate is not None:
            candidate = Judgement("errored", cause="NoAnswer")
        return base, candidate

    def _verdict(self, question: Question, answer: str | None) -> Judgement | None:
        return None if answer is None else verdict(self.answers.journal, self.digest, (question.prompt, answer))

    def _outcome(self, question: Question, candidate: Judgement, base: Judgement) -> Outcome | None:
        if question.set not in HARM_SETS or not self.answers.compared:
            return None
        if self.seat.compares:
            return outcome(self.answers.journal, self.digest, self.answers.comparison(question))
        return preference_of_verdicts(candidate, base).outcome
