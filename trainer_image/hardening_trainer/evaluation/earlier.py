"""What earlier Evaluate stages left: the bank of successes to replay, and answers with their verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hardening_api.stages import EvaluateConfig
from hardening_trainer.data import prompt_hash
from hardening_trainer.errors import DataFault
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.records import Answer, Findings, Recorded, Subject, of_answer, of_verdict
from hardening_trainer.evaluation.tables import ANSWERS, ANSWERS_SCHEMA, BANK, BANK_SCHEMA, Row
from hardening_trainer.judges import Judgement, JudgeRow
from hardening_trainer.models import ResolvedModel
from hardening_trainer.runtime.inputs import model_input
from hardening_trainer.runtime.stage import StageContext
from hardening_trainer.storage.resume_cache import key_of
from hardening_trainer.storage.tables import read_table


@dataclass(frozen=True)
class Answered:
    """Rows of an earlier table, for what one subject answered in them."""

    subject: Subject
    column: Literal["base", "candidate"]
    """The part that the subject has in these rows."""
    rows: Sequence[Row] = field(repr=False)

    def teach(self, findings: Findings) -> None:
        """Add its answers and verdicts to `findings`."""
        for row in self.rows:
            answer = row[f"{self.column}_answer"]
            if answer is None:
                continue
            findings.answers.know(of_answer(self.subject, row["asked"]), Answer(answer))
            for entry in row["verdicts"]:
                if entry["subject"] == self.column:
                    read = JudgeRow(row["prompt"], answer)
                    findings.verdicts.know(of_verdict(entry["digest"], read), _judgement(entry))


@dataclass(frozen=True)
class Earlier:
    """What is known before any model is asked."""

    bank: list[Question]
    answered: list[Answered]
    recorded: Recorded | None
    """In a monitor's check, who stands for the base: what the promoted candidate answered is known under its name."""

    def teach(self, findings: Findings) -> None:
        """Add all of it to `findings`."""
        for answered in self.answered:
            answered.teach(findings)


def read_earlier(context: StageContext, config: EvaluateConfig, base: ResolvedModel | None) -> Earlier:
    """Read what earlier stages left. Raises DataFault (`BaseChanged`) where the base is another now, CorruptInput."""
    answered: list[Answered] = []
    recorded = None
    if config.recorded:
        manifests = [context.inputs.manifest(folder) for folder in config.recorded]
        recorded = Recorded(key_of("recorded", *(manifest.digest() for manifest in manifests)))
        rows = [row for folder in config.recorded for row in _table(context, folder, ANSWERS)]
        answered.append(Answered(recorded, "candidate", rows))
    if config.base_evaluation is not None and base is not None:
        _check_base(context, config, config.base_evaluation, base)
        answered.append(Answered(base, "base", _table(context, config.base_evaluation, ANSWERS)))
    shard = context.config.shard
    bank = [row for row in _newest_first(context, config) if row["row"] % shard.count == shard.index]
    if base is not None:
        answered.append(Answered(base, "base", bank))
    return Earlier([_question(row, index) for index, row in enumerate(bank)], answered, recorded)


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


def _newest_first(context: StageContext, config: EvaluateConfig) -> list[Row]:
    """The successes of all shards, without repetitions, at most `bankLimit`.

    Every shard reads the bank of all: which rows the limit keeps then does not depend on the number of shards.
    """
    rows: dict[str, Row] = {}
    for folder in reversed(config.banks):
        table = [row for shard in _all_shards(folder) for row in _table(context, shard, BANK)]
        for row in sorted(table, key=lambda row: row["row"]):
            rows.setdefault(prompt_hash(row["asked"]), row)
    return list(rows.values())[: config.evaluation.bank_limit]


def _all_shards(folder: str) -> list[str]:
    """A check has one shard, the run it is about may have had more: a folder's own name says how many."""
    start, _, count = folder.rpartition("-of-")
    parent = start.rpartition("/")[0]
    return [f"{parent}/shard-{index}-of-{count}" for index in range(int(count))]


def _table(context: StageContext, folder: str, name: str) -> list[dict[str, Any]]:
    return read_table(context.inputs.stage(folder) / name, {ANSWERS: ANSWERS_SCHEMA, BANK: BANK_SCHEMA}[name])


def _question(row: Mapping[str, Any], index: int) -> Question:
    return Question("bank", row["prompt_id"], row["row"], row["prompt"], row["asked"], variant_index=index)


def _judgement(entry: Mapping[str, Any]) -> Judgement:
    return Judgement(entry["verdict"], entry["refusal"], entry["score"], entry["cause"])
