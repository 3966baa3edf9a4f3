"""From raw rows to prompts and preference pairs: columns found, every value checked, errors named by line."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hardening_api.sources import ColumnNames, DataSource
from hardening_trainer.data.conversations import (
    ConversationError,
    is_conversation,
    split_conversation,
    with_system,
)
from hardening_trainer.data.rows import Pair, PairTable, Prompt, PromptTable, prompt_id
from hardening_trainer.data.sources import RawRow, opened
from hardening_trainer.data.transcripts import is_transcript, split_transcript
from hardening_trainer.errors import DataFault

LISTED_FAULTS = 5
_PREFERRED, _DISPREFERRED = ("preferred", "chosen"), ("dispreferred", "rejected")


def read_pairs(source: DataSource, environ: Mapping[str, str], keep_equal: bool = False) -> PairTable:
    """Read preference rows: prompt, preferred and dispreferred answer.

    Pairs that teach nothing (equal answers unless `keep_equal`; in transcripts also empty answers or two different
    prompts) are dropped and counted. Raises DataFault, which names up to five lines but never shows their text,
    when rows are malformed or none is left; UsageFault and Unavailable as `sources.opened` does.
    """
    rows, reader, revision = _read(source, environ, answers=True, keep_equal=keep_equal)
    pairs = [Pair(row.id, row.prompt, row.preferred, row.dispreferred) for row in rows]  # type: ignore[arg-type]
    return PairTable(pairs, reader.digest, dict(reader.dropped), revision)


def read_prompts(source: DataSource, environ: Mapping[str, str]) -> PromptTable:
    """Read prompts; answers are kept where a row has them. Raises as `read_pairs` does."""
    rows, reader, revision = _read(source, environ, answers=False)
    return PromptTable(rows, reader.digest, dict(reader.dropped), revision)


def _read(
    source: DataSource, environ: Mapping[str, str], answers: bool, keep_equal: bool = False
) -> tuple[list[Prompt], _Reader, str | None]:
    with opened(source, environ) as open_source:
        last = None if source.limit is None else source.offset + source.limit
        raw = islice(open_source.rows, source.offset, last)
        reader = _Reader(source, answers, keep_equal, open_source.place)
        rows = reader.read(raw)
    if not rows and not reader.dropped:
        where = f" after offset {source.offset}" if source.offset else ""
        raise DataFault(f"{source.uri}: no rows{where}: expected at least one", "NoRows")
    if not rows:
        raise DataFault(
            f"{source.uri}: every row was dropped ({dict(reader.dropped)}): expected at least one", "NoRows"
        )
    return rows, reader, open_source.revision


@dataclass(frozen=True)
class _Columns:
    """Which column is which; None where the source has none."""

    prompt: str | None
    preferred: str | None
    dispreferred: str | None
    system: str | None


class _Reader:
    """Reads the rows of one source and collects what is wrong with them."""

    def __init__(self, source: DataSource, answers: bool, keep_equal: bool, place: str) -> None:
        self._source, self._answers, self._keep_equal, self._place = source, answers, keep_equal, place
        self._faults: list[str] = []
        self._fault_count = 0
        self._lines: dict[str, int] = {}
        self._hash = hashlib.sha256()
        self.dropped: Counter[str] = Counter()

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over one canonical JSON line for each row read."""
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, raw: Iterable[RawRow]) -> list[Prompt]:
        """Return the good rows; raise DataFault if any was malformed."""
        rows = [row for row in self._rows(raw) if row is not None]
        if self._fault_count:
            counted = "1 fault" if self._fault_count == 1 else f"{self._fault_count} faults"
            more = self._fault_count - len(self._faults)
            listed = [*self._faults, *([f"and {more} more"] if more else [])]
            raise DataFault(f"{self._source.uri}: {counted}: " + "; ".join(listed))
        return rows

    def _rows(self, raw: Iterable[RawRow]) -> Iterator[Prompt | None]:
        columns: _Columns | None = None
        transcripts: bool | None = None
        for row in raw:
            if row.fault is not None:
                self._fault(row, row.fault)
                continue
            if transcripts is None:
                transcripts = self._are_transcripts(row)
                columns = None if transcripts else self._find_columns(row)
            yield self._from_transcripts(row) if columns is None else self._from_columns(row, columns)

    def _are_transcripts(self, first: RawRow) -> bool:
        if self._source.format != "Auto":
            return self._source.format == "Transcripts"
        names = self._source.columns or ColumnNames()
        has_prompt = (names.prompt or "prompt") in first.columns
        return not has_prompt and is_transcript(_first(first, names.preferred, _PREFERRED))

    def _find_columns(self, first: RawRow) -> _Columns:
        names = self._source.columns or ColumnNames()
        answers: tuple[str | None, str | None]
        if names.responses is not None:
            for role, given in (("first", names.responses[0]), ("second", names.responses[1]), ("safer", names.safer)):
                self._column(first, role, given, (), needed=True)
            answers = (names.responses[0], names.responses[1])
        else:
            answers = (
                self._column(first, "preferred", names.preferred, _PREFERRED, needed=self._answers),
                self._column(first, "dispreferred", names.dispreferred, _DISPREFERRED, needed=self._answers),
            )
        implied = names.prompt is None and is_conversation(first.columns.get(answers[0] or ""))
        return _Columns(
            self._column(first, "prompt", names.prompt, ("prompt",), needed=not implied),
            *answers,
            self._column(first, "system", names.system, ("system",), needed=False),
        )

    def _column(self, first: RawRow, role: str, given: str | None, usual: tuple[str, ...], needed: bool) -> str | None:
        for name in (given,) if given else usual:
            if name in first.columns:
                return name
        if not needed and given is None:
            return None
        wanted = " or ".join(repr(name) for name in ((given,) if given else usual))
        found = ", ".join(sorted(map(str, first.columns))[:12])
        raise DataFault(
            f"{self._source.uri}: {self._place} {first.line}: no column {wanted} for the {role}, but {found}: "
            "name it in columns (two answers and the index of the safer one: responses and safer)"
        )

    def _from_columns(self, row: RawRow, columns: _Columns) -> Prompt | None:
        before = self._fault_count
        given = None if columns.prompt is None else self._prompt(row, columns.prompt)
        implied, preferred = self._answer(row, columns.preferred)
        other, dispreferred = self._answer(row, columns.dispreferred)
        if self._source.columns is not None and self._source.columns.safer is not None:
            preferred, dispreferred = self._by_safety(row, self._source.columns.safer, preferred, dispreferred)
        system = self._text(row, columns.system, needed=False)
        if self._fault_count > before:
            return None
        prompts = [prompt for prompt in (given, implied, other) if prompt is not None]
        if not prompts:
            self._fault(row, "expected a user's message before the answers, or a column of prompts")
            return None
        prompt = with_system(system, prompts[0])
        self._count_in(row, prompt, preferred, dispreferred)
        if len(set(prompts)) > 1:
            self.dropped["PromptsDiffer"] += 1
            return None
        return self._row(row, prompt, preferred, dispreferred)

    def _prompt(self, row: RawRow, column: str) -> str | None:
        """The prompt in `column`: text, or messages of which the last is a user's."""
        value = row.columns.get(column)
        if not is_conversation(value):
            return self._text(row, column, needed=True)
        prompt, answer = self._split(row, column, value)
        if answer is not None:
            self._fault(row, f"{column}: the last message is an assistant's: expected a user's")
        return self._present(row, column, prompt)

    def _answer(self, row: RawRow, column: str | None) -> tuple[str | None, str | None]:
        """(prompt, answer) in `column`: text, or messages of which the last is the answer and others the prompt."""
        value = None if column is None else row.columns.get(column)
        if column is None or not is_conversation(value):
            return None, self._text(row, column, needed=self._answers)
        prompt, answer = self._split(row, column, value)
        return prompt, self._present(row, column, answer) if self._answers else answer

    def _split(self, row: RawRow, column: str, value: Any) -> tuple[str | None, str | None]:
        try:
            return split_conversation(value)
        except ConversationError as error:
            self._fault(row, f"{column}: {error}")
            return None, None

    def _present(self, row: RawRow, column: str, text: str | None) -> str | None:
        if text is None or not text.strip():
            self._fault(row, f"{column}: got messages without it: expected text")
            return None
        return text

    def _by_safety(
        self, row: RawRow, column: str, first: str | None, second: str | None
    ) -> tuple[str | None, str | None]:
        """The two answers, the safer one first."""
        value = row.columns.get(column)
        known: dict[object, int] = {0: 0, 1: 1, "0": 0, "1": 1}  # true and 1.0 are 1
        index = (
            known.get(value.strip() if isinstance(value, str) else value)
            if isinstance(value, bool | int | float | str)
            else None
        )
        if index is None:
            self._fault(row, f"{column}: got {type(value).__name__}: expected 0 or 1, the index of the safer answer")
        return (second, first) if index else (first, second)

    def _from_transcripts(self, row: RawRow) -> Prompt | None:
        names = self._source.columns or ColumnNames()
        dialogues = [_first(row, names.preferred, _PREFERRED), _first(row, names.dispreferred, _DISPREFERRED)]
        if not all(is_transcript(dialogue) for dialogue in dialogues):
            self._fault(row, "expected two dialogues '\\n\\nHuman: ...\\n\\nAssistant: ...'")
            return None
        (prompt, preferred), (other, dispreferred) = (split_transcript(str(dialogue)) for dialogue in dialogues)
        self._count_in(row, prompt, other, preferred, dispreferred)
        if prompt != other:
            self.dropped["PromptsDiffer"] += 1
            return None
        if not (prompt and preferred and dispreferred):
            self.dropped["EmptyAnswer"] += 1
            return None
        return self._row(row, prompt, preferred, dispreferred)

    def _count_in(self, row: RawRow, *texts: str | None) -> None:
        line = json.dumps([str(row.columns.get(self._id_column, "")), *texts])
        self._hash.update(line.encode() + b"\n")

    def _row(self, row: RawRow, prompt: str, preferred: str | None, dispreferred: str | None) -> Prompt | None:
        if self._answers and preferred == dispreferred and not self._keep_equal:
            self.dropped["SameAnswers"] += 1
            return None
        identity = self._identity(row, prompt)
        return None if identity is None else Prompt(identity, prompt, preferred, dispreferred)

    @property
    def _id_column(self) -> str:
        return (self._source.columns.id if self._source.columns else None) or "id"

    def _identity(self, row: RawRow, prompt: str) -> str | None:
        """The row's own id, or one made of its prompt. A prompt's, and one of a column the spec names, are numbered."""
        own = row.columns.get(self._id_column)
        named = self._source.columns is not None and self._source.columns.id is not None
        if own is not None and not isinstance(own, str | int):
            self._fault(row, f"{self._id_column}: got {type(own).__name__}: expected text or a whole number")
            return None
        plain = prompt_id(prompt) if own is None or own == "" else str(own)
        identity, number = plain, 1
        if (own is None or own == "" or named) or plain not in self._lines:
            while identity in self._lines:
                number += 1
                identity = f"{plain}-{number}"
        else:
            first = f"the same as in {self._place} {self._lines[plain]}"
            advice = f"expected ids that differ: with columns: {{id: {self._id_column}}} repeats are numbered"
            self._fault(row, f"{self._id_column}: {first}: {advice}")
            return None
        self._lines[identity] = row.line
        return identity

    def _text(self, row: RawRow, column: str | None, needed: bool) -> str | None:
        value = None if column is None else row.columns.get(column)
        if isinstance(value, str) and value.strip():
            return value
        if needed or not (value is None or isinstance(value, str)):
            found = "nothing" if value is None else "empty text" if isinstance(value, str) else type(value).__name__
            self._fault(row, f"{column}: got {found}: expected text")
        return None

    def _fault(self, row: RawRow, what: str) -> None:
        self._fault_count += 1
        if len(self._faults) < LISTED_FAULTS:
            self._faults.append(f"{self._place} {row.line}: {what}")


def _first(row: RawRow, given: str | None, usual: tuple[str, ...]) -> object:
    return next((row.columns[name] for name in ((given,) if given else usual) if name in row.columns), None)
