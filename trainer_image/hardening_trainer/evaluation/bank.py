"""The attack bank: every past success, replayed on each later candidate. And what earlier stages already know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hardening_api.stage import EvaluateConfig, Shard
from hardening_trainer.data import prompt_hash
from hardening_trainer.errors import DataFault
from hardening_trainer.evaluation.models import answer_key
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.tables import ANSWERS, ANSWERS_SCHEMA, BANK, BANK_SCHEMA, Row
from hardening_trainer.evaluation.verdicts import known_verdicts
from hardening_trainer.inputs import model_input
from hardening_trainer.models import ResolvedModel
from hardening_trainer.runtime import StageContext
from hardening_trainer.tables import read_table


class Earlier:
    """What earlier Evaluate stages left: successes to replay, and the base's answers with their verdicts."""

    def __init__(self, context: StageContext, config: EvaluateConfig, base: ResolvedModel) -> None:
        self.bank: list[Question] = []
        self.known: dict[str, Any] = {}
        """Entries for the journal."""
        self._base = base
        if config.base_evaluation is not None:
            self._check_base(context, config, config.base_evaluation)
            self._learn(read_table(context.inputs.stage(config.base_evaluation) / ANSWERS, ANSWERS_SCHEMA))
        for row in _newest_first(context, config):
            if row["row"] % context.config.shard.count == context.config.shard.index:
                self._learn([row])
                self.bank.append(_question(row, len(self.bank)))

    def _check_base(self, context: StageContext, config: EvaluateConfig, folder: str) -> None:
        if config.base.source is None:
            return
        name, digest = model_input(config.base.source), f"sha256:{self._base.digest}"
        then = context.inputs.manifest(folder).inputs.get(name)
        if then != digest:
            raise DataFault(
                f"{folder}: the base model was {then} when it was evaluated: got {digest}: restore it, or evaluate it "
                "again by removing that folder",
                "BaseChanged",
            )

    def _learn(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row["base_answer"] is not None:
                self.known[answer_key(self._base, row["asked"])] = [row["base_answer"]]
                self.known.update(known_verdicts(row))


def _newest_first(context: StageContext, config: EvaluateConfig) -> list[Row]:
    """The successes of all shards, without repetitions, at most `bankLimit`.

    Every shard reads the bank of all: which rows the limit keeps then does not depend on the number of shards.
    """
    rows: dict[str, Row] = {}
    for folder in reversed(config.banks):
        table = [row for shard in _all_shards(folder, context.config.shard) for row in _bank_of(context, shard)]
        for row in sorted(table, key=lambda row: row["row"]):
            rows.setdefault(prompt_hash(row["asked"]), row)
    return list(rows.values())[: config.evaluation.bank_limit]


def _all_shards(folder: str, shard: Shard) -> list[str]:
    parent = folder.rpartition("/")[0]
    return [f"{parent}/shard-{index}-of-{shard.count}" for index in range(shard.count)]


def _bank_of(context: StageContext, folder: str) -> list[dict[str, Any]]:
    return read_table(context.inputs.stage(folder) / BANK, BANK_SCHEMA)


def _question(row: Mapping[str, Any], index: int) -> Question:
    return Question("bank", row["prompt_id"], row["row"], row["prompt"], row["asked"], variant_index=index)
