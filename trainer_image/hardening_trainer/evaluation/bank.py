"""The attack bank: every past success, replayed on each later candidate. And what earlier stages already know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hardening_api.stages import EvaluateConfig
from hardening_trainer.data import prompt_hash
from hardening_trainer.errors import DataFault
from hardening_trainer.evaluation.answers import Recorded, answer_key
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.tables import ANSWERS, ANSWERS_SCHEMA, BANK, BANK_SCHEMA, Row
from hardening_trainer.evaluation.verdicts import known_verdicts
from hardening_trainer.models import ResolvedModel
from hardening_trainer.runtime.inputs import model_input
from hardening_trainer.runtime.resume_cache import key_of
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.storage.tables import read_table


class Earlier:
    """What earlier Evaluate stages left: successes to replay, and the base's answers with their verdicts.

    In a monitor's check there is no base; what the promoted candidate answered then is known under `recorded`.
    """

    def __init__(self, context: StageContext, config: EvaluateConfig, base: ResolvedModel | None) -> None:
        self.bank: list[Question] = []
        self.known: dict[str, Any] = {}
        """Entries for the journal."""
        self.recorded = self._record(context, config.recorded) if config.recorded else None
        self._base = base
        if config.base_evaluation is not None and base is not None:
            self._check_base(context, config, config.base_evaluation, base)
            self._learn(read_table(context.inputs.stage(config.base_evaluation) / ANSWERS, ANSWERS_SCHEMA))
        for row in _newest_first(context, config):
            if row["row"] % context.config.shard.count == context.config.shard.index:
                self._learn([row])
                self.bank.append(_question(row, len(self.bank)))

    @staticmethod
    def _check_base(context: StageContext, config: EvaluateConfig, folder: str, base: ResolvedModel) -> None:
        if config.base is None or config.base.source is None:
            return
        name, digest = model_input(config.base.source), f"sha256:{base.digest}"
        then = context.inputs.manifest(folder).inputs.get(name)
        if then != digest:
            raise DataFault(
                f"{folder}: the base model was {then} when it was evaluated: got {digest}: restore it, or evaluate it "
                "again by removing that folder",
                "BaseChanged",
            )

    def _learn(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row["base_answer"] is not None and self._base is not None:
                self.known[answer_key(self._base, row["asked"])] = [row["base_answer"]]
                self.known.update(known_verdicts(row, "base"))

    def _record(self, context: StageContext, folders: Sequence[str]) -> Recorded:
        recorded = Recorded(key_of("recorded", *(context.inputs.manifest(folder).digest() for folder in folders)))
        for folder in folders:
            for row in read_table(context.inputs.stage(folder) / ANSWERS, ANSWERS_SCHEMA):
                if row["candidate_answer"] is not None:
                    self.known[answer_key(recorded, row["asked"])] = [row["candidate_answer"]]
                    self.known.update(known_verdicts(row, "candidate"))
        return recorded


def _newest_first(context: StageContext, config: EvaluateConfig) -> list[Row]:
    """The successes of all shards, without repetitions, at most `bankLimit`.

    Every shard reads the bank of all: which rows the limit keeps then does not depend on the number of shards.
    """
    rows: dict[str, Row] = {}
    for folder in reversed(config.banks):
        table = [row for shard in _all_shards(folder) for row in _bank_of(context, shard)]
        for row in sorted(table, key=lambda row: row["row"]):
            rows.setdefault(prompt_hash(row["asked"]), row)
    return list(rows.values())[: config.evaluation.bank_limit]


def _all_shards(folder: str) -> list[str]:
    """A check has one shard, the run it is about may have had more: a folder's own name says how many."""
    start, _, count = folder.rpartition("-of-")
    parent = start.rpartition("/")[0]
    return [f"{parent}/shard-{index}-of-{count}" for index in range(int(count))]


def _bank_of(context: StageContext, folder: str) -> list[dict[str, Any]]:
    return read_table(context.inputs.stage(folder) / BANK, BANK_SCHEMA)


def _question(row: Mapping[str, Any], index: int) -> Question:
    return Question("bank", row["prompt_id"], row["row"], row["prompt"], row["asked"], variant_index=index)
