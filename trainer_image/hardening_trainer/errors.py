"""How a stage may fail: each failure has a reason, a message for its reader, and an exit code of sysexits.

    64 usage, 65 data        the run fails at once with the reason
    69 unavailable, 75 temporary    tried again
    70 anything else

A full disk exits 75: once somebody has made room, the same command resumes from what was saved. Messages never
hold prompt or answer text.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator

import pyarrow as pa
from pydantic import ValidationError

from hardening_api.stages import ExitCode

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SAFE_TO_SHOW = (OSError, RuntimeError, MemoryError, ImportError)
"""Exceptions with a message written by the system or a library, which holds nothing of the rows being read."""


class StageError(Exception):
    """A stage ended without its result. `reason` is one CamelCase word; `exit_code` says what to do about it."""

    exit_code: int = ExitCode.SOFTWARE
    default_reason = "StageFailed"

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason


class UsageFault(StageError):
    """The configuration asks for something that cannot work."""

    exit_code = ExitCode.USAGE
    default_reason = "InvalidConfig"


class DataFault(StageError):
    """What was read is not what was expected; reading it again changes nothing."""

    exit_code = ExitCode.DATA
    default_reason = "BadData"


class CorruptInput(DataFault):
    """A file is damaged: truncated, or not the one its manifest describes."""

    default_reason = "CorruptInput"


class Unavailable(StageError):
    """Something outside cannot be reached just now."""

    exit_code = ExitCode.UNAVAILABLE
    default_reason = "Unavailable"


class WorkspaceUnavailable(Unavailable):
    """The workspace cannot be read or written."""

    default_reason = "WorkspaceUnavailable"


class WorkspaceFull(StageError):
    """No room left to write in; the stage resumes from what it saved once there is."""

    exit_code = ExitCode.TEMPORARY
    default_reason = "WorkspaceFull"


class Interrupted(StageError):
    """The stage was asked to stop, and saved what it had."""

    exit_code = ExitCode.TEMPORARY
    default_reason = "Interrupted"


class ModelNotUsable(DataFault):
    """The model can never be used as it is: missing files, another format, no chat template, numbers that are NaN."""

    default_reason = "ModelNotUsable"

    def __init__(self, uri: object, found: str, advice: str) -> None:
        super().__init__(f"model {uri}: {found}: {advice}")


class ModelUnavailable(Unavailable):
    """The model cannot be reached now; trying again may help."""

    default_reason = "ModelUnavailable"

    def __init__(self, uri: object, found: str) -> None:
        super().__init__(f"model {uri}: {found}: try again, or fetch it once and name it by file://")


class JudgeMisconfigured(UsageFault):
    """The judge can never answer as it is set up: a wrong address, a refused secret, a missing field."""

    default_reason = "JudgeMisconfigured"


class JudgeUnavailable(Unavailable):
    """The judge cannot be reached now; trying again may help."""

    default_reason = "JudgeUnavailable"


def validation_lines(place: str, error: ValidationError) -> list[str]:
    """Return one line a refused field: `PLACE: path.to.field: got VALUE: what was expected`."""
    lines = []
    for detail in error.errors(include_url=False):
        where = ".".join(str(part) for part in detail["loc"])
        reason = detail["msg"].removeprefix("Value error, ")
        if reason.startswith("at="):
            field, _, reason = reason.removeprefix("at=").partition(";")
            where = f"{where}.{field}" if where else field
            reason = f"expected {reason}"
        shown = (
            "" if isinstance(detail["input"], dict | list) else f"got {json.dumps(detail['input'], default=str)[:80]}: "
        )
        lines.append(f"{place}: {where or 'document'}: {shown}{reason}")
    return lines


def as_stage_error(error: BaseException) -> StageError:
    """Return what any exception means for the stage, without repeating text it may carry."""
    for link in _chain(error):
        if isinstance(link, StageError):
            return link
        known = _of_system(link)
        if known is not None:
            return known
    place = _place(error)
    words = f": {error}" if isinstance(error, _SAFE_TO_SHOW) else ""
    return StageError(f"{type(error).__name__} at {place}{words}"[:600])


def _of_system(error: BaseException) -> StageError | None:
    if isinstance(error, pa.ArrowInvalid):
        return CorruptInput("a Parquet file cannot be read: it is truncated or damaged: restore it or redo its stage")
    if type(error).__name__ == "SafetensorError":
        return _of_safetensors(str(error))
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        if error.errno in _FULL:
            return WorkspaceFull(f"{name}no room to write: make room, then run it again: it resumes from here")
        if error.errno in _FORBIDDEN:
            return WorkspaceUnavailable(f"{name}permission denied: let the user of this process read and write it")
    return None


def _of_safetensors(text: str) -> StageError:
    if any(f"os error {number}" in text for number in _FULL):
        return WorkspaceFull("weights: no room to write: make room, then run it again: it resumes from here")
    return CorruptInput(f"a safetensors file cannot be read ({text[:120]}): it is truncated or damaged: restore it")


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or link.__context__


def _place(error: BaseException) -> str:
    """File and line the exception came from."""
    step = error.__traceback__
    if step is None:
        return "an unknown place"
    while step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{step.tb_lineno}"
