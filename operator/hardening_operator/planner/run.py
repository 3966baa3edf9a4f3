"""The decision core: `plan(spec, status, observed, now)` says what a run's status is and what starts and stops.

No I/O, no clock, no randomness: the same inputs give the same decision, in a cluster and on a laptop. It is
level-triggered: it walks the whole of Algorithm 1 of the paper (arXiv 2505.24369) from the beginning on every call,
passes over what is done, and stops at the first step that is not.

    Evaluate base -> round t = 1..T: Attack -> Score -> TrainAttacker + TrainDefender -> Evaluate -> gates
                                                                                 promote / ask / next round / give up

Phases:  Running -> (AwaitingApproval ->) Promoting -> Promoted;  Running -> NotPromoted;  any of them -> Failed.
`Suspended` applies in all phases but the terminal ones, which a run never leaves.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from hardening_api.run import HardeningRunSpec
from hardening_api.status import TERMINAL_PHASES, HardeningRunStatus, RoundStatus, StageName
from hardening_operator.planner.attempts import RETRY_SECONDS
from hardening_operator.planner.gates import best_round
from hardening_operator.planner.run_status import RunStatusDraft
from hardening_operator.planner.types import Decision, Observed, StageKey, StageStop, Why

TRAINING_ORDER: dict[str, tuple[tuple[StageName, ...], ...]] = {
    "Parallel": (("TrainAttacker", "TrainDefender"),),
    "AttackerFirst": (("TrainAttacker",), ("TrainDefender",)),
    "DefenderFirst": (("TrainDefender",), ("TrainAttacker",)),
}


def plan(
    spec: HardeningRunSpec,
    status: HardeningRunStatus,
    observed: Observed,
    now: datetime,
    retry_seconds: float = RETRY_SECONDS,
) -> Decision:
    """Decide what to do next.

    Args:
        spec: What is wanted.
        status: What the last decision was, as stored; a fresh one for a new run.
        observed: What is, however old, repeated or incomplete.
        now: The time, aware.
        retry_seconds: Delay before the first retry of a stage that failed; it doubles with every failure.

    Returns:
        The status to store, and then the stages to start and to stop; events say what changed. Planning again with
        that status and the same observation changes nothing.
    """
    # A run that has ended stays as it is; only what still runs is stopped.
    if status.phase in TERMINAL_PHASES:
        return _stay(status, observed)
    draft = RunStatusDraft(spec, status, observed, now, retry_seconds)

    # Suspended, or past its deadline, a run takes in what comes but starts nothing.
    late = _is_late(spec, status, now)
    if spec.suspend or late:
        draft.start_nothing()

    # Go as far as the observed stages allow.
    _advance(draft)

    # Fail closed: a stage that cannot succeed, or no time left, ends the run.
    if draft.failure is not None:
        draft.end("Failed", "Fail", *draft.failure)
    elif late and not draft.ended:
        seconds = spec.active_deadline_seconds
        draft.end("Failed", "Fail", "DeadlineExceeded", f"the run took longer than activeDeadlineSeconds ({seconds})")

    # Suspended, the running stages save and end; resumed, they start again from what they saved.
    elif spec.suspend and not draft.ended:
        draft.hold("Suspended")
    _tell_of_suspension(draft)
    return draft.finish()


def _advance(draft: RunStatusDraft) -> None:
    """Algorithm 1: attack, score, train both, evaluate, judge; then promote."""
    spec = draft.spec

    # Measure the base model on every held-out set.
    if not draft.completed(0, "Evaluate"):
        return
    draft.tell_of_gates_out_of_reach()

    for t in range(1, spec.rounds + 1):
        # Attack, score, train both, evaluate.
        if not _round_done(draft, t):
            return

        # The gates decide whether the candidate is good enough.
        entry = draft.judge(t)

        # It is, and the first that passes is taken.
        if entry.verdict == "Pass" and spec.promotion.stop == "FirstPass":
            break

        # Otherwise the next round starts from both trained models.
        if t < spec.rounds:
            draft.decide("Continue", f"Gates{entry.verdict}", f"round {t} is {entry.verdict}: round {t + 1} follows")

    # Only a candidate that passed, or under manual approval one nobody could tell of, can be promoted.
    chosen = _choose(draft)
    if chosen is None:
        text = f"no candidate passed its gates in {spec.rounds} rounds"
        return draft.end("NotPromoted", "NotPromoted", "GatesNotPassed", text)
    draft.chosen = chosen
    draft.round = chosen.round

    # A person decides as well, when asked to.
    if spec.promotion.approval == "Manual" and not _approved(draft, chosen):
        return

    # Copy, describe, attest, and move the pointer last.
    _promote(draft, chosen)


def _round_done(draft: RunStatusDraft, t: int) -> bool:
    """One round of Algorithm 1, up to the evaluation of its candidate."""
    # The attacker rewrites each prompt into K variants.
    if not draft.completed(t, "Attack"):
        return False

    # Direct harmfulness R ranks the variants and picks both roles' training pairs.
    if not draft.completed(t, "Score"):
        return False

    # The attacker learns to attack, the defender to decline; neither waits for the other unless told to.
    for trainings in TRAINING_ORDER[draft.spec.training.order]:
        if not draft.completed(t, *trainings):
            return False

    # Base and candidate are measured on the same held-out prompts.
    return draft.completed(t, "Evaluate")


def _choose(draft: RunStatusDraft) -> RoundStatus | None:
    """Return the best candidate that passed; under manual approval, failing that, the best Inconclusive one."""
    passed = best_round(draft.spec, draft.judged(), "Pass")
    if passed is None and draft.spec.promotion.approval == "Manual":
        return best_round(draft.spec, draft.judged(), "Inconclusive")
    return passed


def _approved(draft: RunStatusDraft, chosen: RoundStatus) -> bool:
    """Ask, take in the answer, and return whether it is yes. A yes is kept; a no ends the run."""
    # An approval, once taken in, stands.
    if draft.decided(chosen.round, "Approved") is not None:
        return True

    # Ask.
    question = f"round {chosen.round} is {chosen.verdict}: candidate {chosen.candidate} waits for a PromotionApproval"
    draft.phase = "AwaitingApproval"
    draft.decide("AwaitApproval", f"Gates{chosen.verdict}", question)
    approval = draft.observed.approval
    if approval is None:
        draft.why = Why("AwaitingApproval", question)
        return False

    # An answer about another candidate is none.
    if approval.digest != chosen.candidate:
        text = f"{question}; the one of {approval.approver} names {approval.digest} and is stale"
        draft.why = Why("ApprovalStale", text)
        if ("ApprovalStale", text) not in [(c.reason, c.message) for c in draft.before.conditions]:
            draft.tell("Warning", "ApprovalStale", text)
        return False

    # A no ends the run, a yes lets it promote.
    text = f"{approval.approver} {approval.decision.lower()} candidate {chosen.candidate}"
    draft.decide(approval.decision, f"{approval.decision}ByPerson", text, approval.approver)
    if approval.decision == "Rejected":
        draft.end("NotPromoted", "NotPromoted", "Rejected", text)
        return False
    return True


def _promote(draft: RunStatusDraft, chosen: RoundStatus) -> None:
    """Run Promote for the chosen candidate; when it is done the run is."""
    draft.phase = "Promoting"
    draft.decide(
        "Promote",
        f"Gates{chosen.verdict}",
        f"round {chosen.round}: candidate {chosen.candidate} is promoted{draft.without}",
    )
    if draft.completed(chosen.round, "Promote"):
        text = f"round {chosen.round}: candidate {chosen.candidate} was promoted"
        draft.end("Promoted", None, "Promoted", text)
        draft.tell("Normal", "Promoted", text)


def _stay(status: HardeningRunStatus, observed: Observed) -> Decision:
    running = [key for key, seen in observed.stages.items() if seen.state == "Running"]
    speaks_of = {"observed_generation": observed.generation}
    conditions = [condition.model_copy(update=speaks_of) for condition in status.conditions]
    kept = status.model_copy(update={**speaks_of, "conditions": conditions})
    return Decision(kept, stop=tuple(StageStop(key) for key in sorted(running, key=_order)))


def _order(key: StageKey) -> tuple[int, int]:
    return key.order


def _is_late(spec: HardeningRunSpec, status: HardeningRunStatus, now: datetime) -> bool:
    """Return whether the deadline, counted from the first start, has passed.

    Suspended time counts (as a person set both fields); the time a person takes to approve does not.
    """
    if spec.active_deadline_seconds is None or status.start_time is None:
        return False
    times = {entry.decision: datetime.fromisoformat(entry.time) for entry in status.decisions}
    asked = times.get("AwaitApproval", now)
    waited = times.get("Approved", now) - asked
    elapsed = now - datetime.fromisoformat(status.start_time) - waited
    return elapsed >= timedelta(seconds=spec.active_deadline_seconds)


def _tell_of_suspension(draft: RunStatusDraft) -> None:
    was = any(condition.type == "Suspended" and condition.status == "True" for condition in draft.before.conditions)
    if draft.spec.suspend and not was and not draft.ended:
        draft.tell("Normal", "Suspended", "suspend is true: running stages save and end")
    elif was and not draft.spec.suspend:
        draft.tell("Normal", "Resumed", "suspend is false: the run continues")
