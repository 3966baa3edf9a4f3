"""Promote: check the candidate, copy it to every target, describe and attest it, and only then move the pointer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

from hardening_api.stages import PromoteConfig, PromotionRecord, StageResult, digest_of
from hardening_trainer.promotion.card import model_card
from hardening_trainer.promotion.delivery import Bundle, deliver, move_pointer
from hardening_trainer.promotion.evidence import check_gates, read_checkpoint, read_evidence
from hardening_trainer.promotion.statement import predicate_of, statement_of
from hardening_trainer.promotion.targets import WORKSPACE_HOME, open_stores
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.storage.promoted import CARD, STATEMENT

SHORT = 12


def run(context: StageContext, clock: Callable[[], float] = time.time) -> StageResult:
    """Promote the candidate. Raises DataFault when it is not the one that was evaluated, UsageFault for its targets."""
    promote = context.section(PromoteConfig)
    check_gates(promote)
    stores = open_stores(promote.targets, context.workspace, context.environ)
    bundle = make_bundle(context, promote, datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds"))
    size = sum(record.size for record in bundle.checkpoint.files)
    context.progress.total(size * len(stores))

    def moved(size: int) -> None:
        context.progress.advance(size)
        context.stop.check()

    for store in stores:
        deliver(bundle, store, moved)
    for store in stores:
        move_pointer(bundle, store, context.config.round)
    folder = f"{WORKSPACE_HOME}/{bundle.name}"
    record = PromotionRecord(digest=bundle.checkpoint.digest, path=folder, statement=f"{folder}/{STATEMENT}")
    return StageResult(stage="Promote", round=context.config.round, outcome="Succeeded", promotion=record)


def make_bundle(context: StageContext, promote: PromoteConfig, created: str) -> Bundle:
    """Check what is promoted and write its card and statement.

    The folder's name holds the checkpoint's digest and one of what is claimed of it, so that a promoted folder is
    never written over by another promotion.
    """
    config = context.config
    checkpoint = read_checkpoint(context.inputs, promote.candidate, promote.candidate_digest)
    evidence = read_evidence(context.inputs, promote)
    card = model_card(config.run, config.round, promote, checkpoint, evidence)
    predicate = predicate_of(config.run, config.round, promote, checkpoint, evidence)
    subject = {record.path: record.sha256 for record in checkpoint.files} | {CARD: hashlib.sha256(card).hexdigest()}
    names = (checkpoint.digest, digest_of([predicate, subject]))
    name = "-".join(digest.removeprefix("sha256:")[:SHORT] for digest in names)
    return Bundle(name, checkpoint, card, statement_of(predicate, subject, created), subject)
