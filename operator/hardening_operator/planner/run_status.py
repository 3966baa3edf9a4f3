"""The next status while it is being decided: rounds, verdicts, decisions and the conditions that sum them up."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from hardening_api.run import HardeningRunSpec
from hardening_api.stages import StageResult
from hardening_api.status import (
    TERMINAL_PHASES,
    BestRound,
    DecisionWord,
    HardeningRunStatus,
    Phase,
    RoundStatus,
    RunCondition,
    RunConditionType,
    RunDecision,
    StageName,
)
from hardening_operator.planner import figures
from hardening_operator.planner.attempts import Attempts
from hardening_operator.planner.conditions import Answer, shortened, timestamp, updated_conditions
from hardening_operator.planner.gates import best_round, judge_gates, out_of_reach, overall_verdict
from hardening_operator.planner.stage_configs import trained_model
from hardening_operator.planner.types import Decision, Observed, StageKey, Why, round_of

EVENT_OF: dict[DecisionWord, tuple[Literal["Normal", "Warning"], str]] = {
    "Continue": ("Normal", "NextRound"),
    "Promote": ("Normal", "Promoting"),
    "AwaitApproval": ("Normal", "AwaitingApproval"),
    "NotPromoted": ("Warning", "NotPromoted"),
    "Fail": ("Warning", "RunFailed"),
    "Approved": ("Normal", "Approved"),
    "Rejected": ("Warning", "Rejected"),
}
GATE_ANSWERS: dict[str, tuple[Literal["True", "False", "Unknown"], str]] = {
    "Pass": ("True", "GatesPassed"),
    "Fail": ("False", "GatesFailed"),
    "Inconclusive": ("Unknown", "GatesInconclusive"),
}


class RunStatusDraft:
    """A status that is still being written."""

    def __init__(
        self,
        spec: HardeningRunSpec,
        status: HardeningRunStatus,
        observed: Observed,
        now: datetime,
        retry_seconds: float,
    ) -> None:
        self.spec = spec
        self.before = status
        self.observed = observed
        self.now = now
        self._attempts = Attempts(spec, status, observed, now, retry_seconds)
        self.rounds = {entry.round: entry for entry in status.entries}
        self.decisions = list(status.decisions)
        self.phase: Phase = "Running"
        self.round = 0
        self.chosen: RoundStatus | None = None
        self.promoted = status.promoted
        self.out_of_reach = ""
        """Gates that no candidate can pass, in words."""
        blind = spec.data.evaluation.benign is None
        self.without = "; over-refusal was not measured: the run has no benign prompts" if blind else ""
        """What a decision to promote does not rest on, in words."""
        self.why = Why("Running", "")
        """Reason and message of the state the run is in."""

    @property
    def ended(self) -> bool:
        """Whether a terminal phase was reached."""
        return self.phase in TERMINAL_PHASES

    def completed(self, round_number: int, *names: StageName) -> bool:
        """Take in what these stages report, start those that have not run; return whether all of them are done."""
        self.round = round_number
        keys = [StageKey(round_number, name) for name in names]
        for key in keys:
            results = self._attempts.take_in(key)
            if results:
                self._record(key, results)
        if self.failure is not None:
            return False
        open_keys = [key for key in keys if not self._attempts.succeeded(key)]
        for key in open_keys:
            self._attempts.start(key)
        if open_keys:
            words = " and ".join(key.stage for key in open_keys)
            self.why = Why(f"{open_keys[0].stage}Running", f"{round_of(round_number, self.spec.rounds)}: {words}")
        return not open_keys

    @property
    def failure(self) -> Why | None:
        """Why a stage has failed for good, once one has."""
        return self._attempts.failure

    def start_nothing(self) -> None:
        """Take in what comes, but start no stage."""
        self._attempts.may_start = False

    def hold(self, reason: str) -> None:
        """Mark every running stage as stopped."""
        self._attempts.hold(reason)

    def tell(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Add an event."""
        self._attempts.tell(kind, reason, message)

    def tell_of_gates_out_of_reach(self) -> None:
        """Say once, as soon as the base is measured, that no candidate can pass a gate."""
        base = self.rounds.get(0)
        self.out_of_reach = "; ".join(out_of_reach(self.spec, base.evaluations)) if base is not None else ""
        known = any(condition.reason == "GateOutOfReach" for condition in self.before.conditions)
        if self.out_of_reach and not known and not self.judged():
            self.tell("Warning", "GateOutOfReach", self.out_of_reach)

    def judge(self, round_number: int) -> RoundStatus:
        """Return a round with its gates judged; they are judged once."""
        entry = self.rounds[round_number]
        if entry.verdict is None:
            gates = judge_gates(self.spec, entry.evaluations)
            verdict = overall_verdict(gates)
            entry = entry.model_copy(update={"gates": gates, "verdict": verdict})
            self.rounds[round_number] = entry
            kind: Literal["Normal", "Warning"] = "Normal" if verdict == "Pass" else "Warning"
            self.tell(kind, GATE_ANSWERS[verdict][1], f"round {round_number}: {_in_words(entry)}")
        return entry

    def judged(self) -> list[RoundStatus]:
        """Return the rounds whose gates were judged, in order."""
        return [self.rounds[number] for number in sorted(self.rounds) if self.rounds[number].verdict is not None]

    def decided(self, round_number: int, *words: DecisionWord) -> RunDecision | None:
        """Return the decision of this kind on a round, if it was taken."""
        return next((d for d in self.decisions if d.round == round_number and d.decision in words), None)

    def decide(self, word: DecisionWord, reason: str, message: str, approver: str | None = None) -> None:
        """Record a decision on the current round, once, and say so."""
        if self.decided(self.round, word) is not None:
            return
        text = shortened(message)
        self.decisions.append(
            RunDecision(
                time=timestamp(self.now),
                round=self.round,
                decision=word,
                reason=reason,
                message=text,
                approver=approver,
            )
        )
        self.tell(*EVENT_OF[word], message)

    def end(self, phase: Phase, word: DecisionWord | None, reason: str, message: str) -> None:
        """Enter a terminal phase; what still runs is stopped."""
        if word is not None:
            self.decide(word, reason, message)
        self.phase = phase
        self.why = Why(reason, message)
        self.hold(reason)

    def finish(self) -> Decision:
        """Return the decision with the finished status."""
        self._tell_of_wait()
        phase: Phase = "Suspended" if self.spec.suspend and not self.ended else self.phase
        started = [stage.start_time for stage in self._attempts.stages.values() if stage.start_time is not None]
        gate = self.spec.promotion.gates.win_rate
        statistic = gate.statistic if gate is not None else "All"
        entries = [self._with_stages(number) for number in sorted({*self.rounds, *self._started_rounds()})]
        status = self.before.model_copy(
            update={
                "conditions": self._conditions(),
                "phase": phase,
                "observed_generation": self.observed.generation,
                "start_time": self.before.start_time or min(started, default=None),
                "completion_time": timestamp(self.now) if self.ended else None,
                "round": self.round,
                "progress": [] if self.ended else self._attempts.progress(),
                "base": next((entry for entry in entries if entry.round == 0), None),
                "rounds": [entry for entry in entries if entry.round > 0],
                "best": self._best(),
                "promoted": self.promoted,
                "decisions": self.decisions,
            }
        )
        status = status.model_copy(update={"summary": figures.summary(status, statistic)})
        attempts = self._attempts
        due = None if self.ended else attempts.next_retry()
        return Decision(status, tuple(attempts.starts), attempts.stops(self.ended), tuple(attempts.events), due)

    def _record(self, key: StageKey, results: tuple[StageResult, ...]) -> None:
        entry = self.rounds.get(key.round) or RoundStatus(round=key.round)
        update: dict[str, Any] = {}
        match key.stage:
            case "Attack":
                update["attack"] = figures.attack_figures(results)
            case "Score" if entry.attack is not None:
                update["attack"] = figures.with_scores(entry.attack, results)
            case "TrainAttacker" | "TrainDefender":
                trained = [*entry.trainings, *figures.training_figures(results)]
                update["trainings"] = sorted(trained, key=lambda training: training.role)
            case "Evaluate":
                update["evaluations"] = figures.evaluation_figures(results)
            case "Promote":
                record = next(result.promotion for result in results if result.promotion is not None)
                self.promoted = BestRound(round=key.round, digest=record.digest, uri=record.path)
        if key.stage == "TrainDefender":
            update["candidate"] = figures.results_digest(results)
        self.rounds[key.round] = entry.model_copy(update=update)

    def _started_rounds(self) -> set[int]:
        return {key.round for key in self._attempts.stages}

    def _with_stages(self, number: int) -> RoundStatus:
        keys = sorted((key for key in self._attempts.stages if key.round == number), key=lambda key: key.order)
        entry = self.rounds.get(number) or RoundStatus(round=number)
        return entry.model_copy(update={"stages": [self._attempts.stages[key] for key in keys]})

    def _best(self) -> BestRound | None:
        entry = best_round(self.spec, self.judged(), "Pass")
        if entry is None or entry.candidate is None:
            return None
        return BestRound(round=entry.round, digest=entry.candidate, uri=trained_model(entry.round, "defender"))

    def _wait(self) -> Why | None:
        """Reason and message of the first running stage that waits for something outside the run."""
        for key, wait in sorted(self.observed.waits.items(), key=lambda item: item[0].order):
            stage = self._attempts.stages.get(key)
            if stage is not None and stage.state == "Running":
                return Why(wait.reason, shortened(f"{key}: {wait.message}"))
        return None

    def _tell_of_wait(self) -> None:
        wait = self._wait()
        known = [(condition.type, condition.reason) for condition in self.before.conditions]
        if wait is not None and ("Progressing", wait.reason) not in known:
            self.tell("Warning", "StageWaiting", f"{wait.reason}: {wait.message}")

    def _conditions(self) -> list[RunCondition]:
        reason, message = self.why
        suspended = self.spec.suspend and not self.ended
        busy = self.phase in ("Running", "Promoting") and not suspended
        gate = Answer("Unknown", "NotEvaluated", "no candidate was evaluated yet")
        if self.out_of_reach:
            gate = Answer("Unknown", "GateOutOfReach", shortened(self.out_of_reach))
        judged = [self.chosen] if self.chosen is not None else self.judged()[-1:]
        for entry in judged:
            gate = Answer(*GATE_ANSWERS[entry.verdict or "Inconclusive"], f"round {entry.round}: {_in_words(entry)}")
        failed = self.phase == "Failed"
        promoted = self.phase == "Promoted"
        wait = self._wait()
        progressing = Answer("True" if busy else "False", "Suspended" if suspended else reason, message)
        if busy and wait is not None:
            progressing = Answer("False", *wait)
        held = "suspend is true: set it to false to resume"
        answers: dict[RunConditionType, Answer] = {
            "Accepted": Answer("True", "SpecValid", "the spec is valid"),
            "Progressing": progressing,
            "GatePassed": gate,
            "Promoted": Answer("True" if promoted else "False", reason, message),
            "Failed": Answer("True", reason, message)
            if failed
            else Answer("False", "NoFailure", "no stage has failed for good"),
            "Suspended": Answer("True", "Suspended", held)
            if suspended
            else Answer("False", "NotSuspended", "suspend is false"),
        }
        return updated_conditions(RunCondition, self.before.conditions, answers, self.now, self.observed.generation)


def _in_words(entry: RoundStatus) -> str:
    return "; ".join(f"{gate.gate} {gate.verdict}: {gate.message}" for gate in entry.gates)
