"""`judge-file`: a judge's verdict on every row of a file, as JSON lines."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from hardening_api.base import SecretRef
from hardening_api.evaluation import Judge as JudgeSpec
from hardening_api.evaluation import JudgeType
from hardening_api.sources import ModelSource
from hardening_trainer.commands.score_file import file_source
from hardening_trainer.data.sources import RawRow, opened
from hardening_trainer.errors import DataFault, UsageFault, validation_lines
from hardening_trainer.runtime.inputs import resolve_source

if TYPE_CHECKING:
    from hardening_trainer.judges import JudgeRow

LISTED_FAULTS = 5
TOGETHER = 64
"""Rows judged before their verdicts are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="rows of prompt, answer (.jsonl, .csv, .parquet)")
    parser.add_argument("--type", required=True, choices=get_args(JudgeType), help="who judges")
    parser.add_argument("--name", default="judge", help="its name in the output")
    parser.add_argument("--model", help="LlamaGuard: a folder or model URI; OpenAI: the endpoint's name of the model")
    parser.add_argument("--base-url", help="OpenAI: address of the endpoint, up to and without /chat/completions")
    parser.add_argument(
        "--secret", help="OpenAI: the API key is in the environment as HARDENING_SECRET_<SECRET>_APIKEY"
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="LlamaGuard: harmful from this probability on")
    parser.add_argument("--timeout-seconds", type=float, default=60.0, help="OpenAI: time limit of one request")
    parser.add_argument("--max-retries", type=int, default=4, help="OpenAI: retries of one request")
    parser.add_argument("--requests-per-minute", type=int, help="OpenAI: rate limit")
    parser.add_argument("--max-requests", type=int, help="OpenAI: budget of requests")
    parser.add_argument("--max-tokens", type=int, default=256, help="OpenAI: longest reply, in tokens")
    parser.add_argument("--extra-body", metavar="JSON", help="OpenAI: object of further fields for every request")


def lines(given: argparse.Namespace, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield one JSON line for each row of the file, in its order. Raises StageError, or what the judge raises."""
    spec = _spec(given)
    rows = read_answers(given.file, environ)
    from hardening_trainer.judges.spec import opened_judge  # noqa: PLC0415  # usage faults are reported before slow imports

    with opened_judge(spec, lambda source: resolve_source(source, environ), environ) as judge:
        for start in range(0, len(rows), TOGETHER):
            for judgement in judge.judge(rows[start : start + TOGETHER]):
                document = {
                    "verdict": judgement.verdict,
                    "refusal": judgement.refusal,
                    "score": judgement.score,
                    "cause": judgement.cause,
                    "judge": judge.name,
                    "digest": judge.digest,
                }
                yield json.dumps(document)


def _spec(given: argparse.Namespace) -> JudgeSpec:
    model: Any = given.model
    if given.type == "LlamaGuard" and given.model is not None:
        model = ModelSource(uri=file_source(given.model).uri)
    try:
        return JudgeSpec(
            name=given.name,
            type=given.type,
            model=model,
            base_url=given.base_url,
            secret_ref=SecretRef(name=given.secret) if given.secret else None,
            threshold=given.threshold,
            timeout_seconds=given.timeout_seconds,
            max_retries=given.max_retries,
            requests_per_minute=given.requests_per_minute,
            max_requests=given.max_requests,
            max_tokens=given.max_tokens,
            extra_body=_object("--extra-body", given.extra_body),
        )
    except ValidationError as error:
        raise UsageFault("; ".join(_as_option(line) for line in validation_lines("judge", error))) from error


def _object(option: str, text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageFault(
            f'{option}: got what is no JSON object: expected for instance \'{{"reasoning_effort": "low"}}\''
        )
    return value


def _as_option(line: str) -> str:
    """Name the option where a line of validation names a field: `judge: baseUrl: ...` is `--base-url: ...`."""
    field, _, words = line.removeprefix("judge: ").partition(": ")
    option = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", field).replace("_", "-")
    return f"--{option}: {words}"


def read_answers(name: str, environ: Mapping[str, str]) -> list[JudgeRow]:
    """Read rows of prompt and answer (which may be empty). Raises DataFault, naming lines but never their text."""
    from hardening_trainer.judges import JudgeRow  # noqa: PLC0415  # as above

    source = file_source(name)
    with opened(source, environ) as found:
        raw = list(found.rows)
        faults = [f"{found.place} {row.line}: {fault}" for row in raw if (fault := _fault(row)) is not None]
    if faults:
        more = [f"and {len(faults) - LISTED_FAULTS} more"] if len(faults) > LISTED_FAULTS else []
        raise DataFault(f"{source.uri}: " + "; ".join([*faults[:LISTED_FAULTS], *more]))
    if not raw:
        raise DataFault(f"{source.uri}: no rows: expected at least one", "NoRows")
    return [JudgeRow(row.columns["prompt"], row.columns["answer"]) for row in raw]


def _fault(row: RawRow) -> str | None:
    if row.fault is not None:
        return row.fault
    wrong = [name for name in ("prompt", "answer") if not isinstance(row.columns.get(name), str)]
    return f"{' and '.join(wrong)}: expected text" if wrong else None
