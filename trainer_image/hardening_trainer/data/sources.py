"""Raw rows of a source, with the line each came from: JSONL, CSV, Parquet (also compressed), Hugging Face datasets."""

from __future__ import annotations

import csv
import io
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import OpenFile
from fsspec.utils import infer_compression

from hardening_api.sources import DataSource
from hardening_trainer.errors import CorruptInput, DataFault, StageError, Unavailable, UsageFault, as_stage_error
from hardening_trainer.storage.credentials import read_secret
from hardening_trainer.storage.packages import package_folder, package_path
from hardening_trainer.storage.stores import OpenUrl, opener

csv.field_size_limit(2**31 - 1)  # csv's own limit, 131,072 characters, is shorter than some answers
_FORMATS = (".jsonl", ".ndjson", ".csv", ".parquet")


@dataclass(frozen=True)
class RawRow:
    """One row: its line (of a table: row) from 1, and its columns, or what keeps it from being read."""

    line: int
    columns: dict[str, Any] = field(repr=False)
    fault: str | None = None


@dataclass(frozen=True)
class Opened:
    """An open source."""

    rows: Iterator[RawRow]
    place: str
    """What `line` counts: `line` or `row`."""
    revision: str | None = None


@contextmanager
def opened(source: DataSource, environ: Mapping[str, str]) -> Iterator[Opened]:
    """Open `source`. Raises DataFault (also while rows are read), UsageFault or Unavailable, naming the URI."""
    try:
        if source.uri.startswith("hf://"):
            yield _from_hub(source, environ)
            return
        suffix = _suffix(source.uri)
        with _stream(source.uri, opener(source.secret_ref, environ)) as stream:
            if suffix == ".parquet":
                yield Opened(_parquet(source.uri, stream), "row")
            elif suffix == ".csv":
                yield Opened(_csv(source.uri, stream), "line")
            else:
                yield Opened(_jsonl(stream), "line")
    except FileNotFoundError as error:
        raise DataFault(f"{source.uri}: no such file: check the URI", "DataMissing") from error
    except (pa.ArrowInvalid, EOFError, zlib.error) as error:
        raise CorruptInput(f"{source.uri}: truncated or damaged: fetch or write it again") from error
    except StageError:
        raise
    except OSError as error:
        known = as_stage_error(error)
        if type(known) is not StageError:
            raise known from error
        if "gzip" in str(error).lower():
            raise CorruptInput(f"{source.uri}: not a gzip file, as its name says: fetch or write it again") from error
        raise Unavailable(f"{source.uri}: cannot be read ({type(error).__name__}): try again") from error


def _suffix(uri: str) -> str:
    name = Path(urlsplit(uri).path).name.removesuffix(".gz")
    suffix = Path(name).suffix.lower()
    if suffix not in _FORMATS:
        raise UsageFault(f"{uri}: expected a file that ends in {', '.join(_FORMATS)} (text also with .gz)")
    return suffix


@contextmanager
def _stream(uri: str, open_url: OpenUrl) -> Iterator[BinaryIO]:
    if uri.startswith("package://"):
        uri = _package_file(uri).as_uri()
    try:
        filesystem, path = open_url(unquote(uri) if uri.startswith("file://") else uri)
        file = OpenFile(filesystem, path, "rb", infer_compression(path))
    except (ValueError, ImportError) as error:
        raise UsageFault(f"{uri}: this scheme cannot be opened here ({error})") from error
    with file as stream:
        yield stream


def _package_file(uri: str) -> Path:
    """A file inside an installed package, which is found but not imported."""
    name, folder = urlsplit(uri).netloc, package_folder(uri)
    if folder is None:
        raise DataFault(f"{uri}: no installed package {name}: install it, or check its name", "DataMissing")
    path = package_path(uri, folder)
    if path is None or not path.is_file():
        raise DataFault(f"{uri}: no such file in package {name}: check the path", "DataMissing")
    return path


def _jsonl(stream: BinaryIO) -> Iterator[RawRow]:
    for line, data in enumerate(_lines(stream), start=1):
        if data.strip():
            yield _json_row(line, data)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines that end in LF, CR LF or CR alone, without their ends; JSON holds neither inside text."""
    for chunk in stream:
        yield from chunk.removesuffix(b"\n").removesuffix(b"\r").split(b"\r")


def _json_row(line: int, data: bytes) -> RawRow:
    try:
        value = _parsed(data)
    except RecursionError:
        return RawRow(line, {}, "nested too deep to be read: expected a JSON object of plain columns")
    except ValueError as error:
        return RawRow(line, {}, _what_is_wrong(error))
    return RawRow(line, value) if isinstance(value, dict) else RawRow(line, {}, "expected a JSON object")


def _parsed(data: bytes) -> Any:
    """The value of a line; NaN and Infinity, which pandas writes where nothing is, are nothing."""
    value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_repeats, parse_constant=lambda _name: None)
    if b"\\u" in data:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _what_is_wrong(error: ValueError) -> str:
    match error:
        case UnicodeDecodeError():
            return f"byte {error.start + 1}: expected UTF-8"
        case UnicodeEncodeError():
            return "an escape from \\ud800 to \\udfff stands alone: expected pairs of them, or UTF-8"
        case json.JSONDecodeError():
            return f"column {error.colno}: expected JSON ({error.msg})"
        case _RepeatedNameError():
            return f"the name {str(error)[:40]!r} stands twice in one object: expected it once"
        case _:
            return f"a number of more than {sys.get_int_max_str_digits()} digits: expected a shorter one, or text"


class _RepeatedNameError(ValueError):
    """An object gives one name two values."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedNameError(next(name for name in names if names.count(name) > 1))
    return found


def _csv(uri: str, stream: BinaryIO) -> Iterator[RawRow]:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.DictReader(text, strict=True)
    try:
        _check_names(uri, reader.fieldnames or [])
        for row in reader:
            wide = None in row  # the cells beyond the header's, under csv's own key for them
            fault = f"expected {len(reader.fieldnames or [])} columns, as in the first line" if wide else None
            yield RawRow(reader.line_num, {} if wide else dict(row), fault)
    except UnicodeDecodeError as error:
        raise DataFault(f"{uri}: after line {reader.line_num}: expected UTF-8: save it as UTF-8") from error
    except csv.Error as error:
        raise DataFault(f"{uri}: line {reader.line_num}: expected CSV ({error})") from error


def _parquet(uri: str, stream: BinaryIO) -> Iterator[RawRow]:
    file = pq.ParquetFile(stream)
    _check_names(uri, file.schema_arrow.names)
    row = 0
    for batch in file.iter_batches(1024):
        try:
            rows = batch.to_pylist()
        except (UnicodeDecodeError, ValueError, OverflowError) as error:
            first, last = row + 1, row + batch.num_rows
            found = "text that is not UTF-8" if isinstance(error, UnicodeDecodeError) else "a value out of range"
            raise DataFault(f"{uri}: rows {first} to {last}: {found}: write the file again") from error
        for columns in rows:
            row += 1
            yield RawRow(row, columns)


def _check_names(uri: str, names: Sequence[str]) -> None:
    """Raise DataFault where two columns have one name: the second would hide the first."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataFault(f"{uri}: two columns are named {repeated[0][:40]!r}: expected names that differ")


def _from_hub(source: DataSource, environ: Mapping[str, str]) -> Opened:

    name = source.uri.removeprefix("hf://")
    token = read_secret(source.secret_ref, "token", environ)
    revision = _hub_commit(name, source.revision, token)
    configuration = {"name": source.subset} if source.subset else {}
    try:
        try:
            table = _load(name, configuration, source, revision or source.revision, token)
        except ValueError:
            if not source.subset:
                raise
            table = _load(name, {"data_dir": source.subset}, source, revision or source.revision, token)
    except Exception as error:
        raise _hub_error(source, error) from error
    return Opened((RawRow(row, dict(columns)) for row, columns in enumerate(table, start=1)), "row", revision)


def _hub_error(source: DataSource, error: Exception) -> StageError:
    """What keeps a dataset of the hub from being read: itself, which a retry does not change, or the way to it."""
    import datasets  # noqa: PLC0415  # as above

    words = str(error)
    if "dataset script" in words.lower() or "trust_remote_code" in words:
        advice = "read the table the hub has made of it, with revision: refs/convert/parquet"
        return DataFault(f"{source.uri}: this dataset is a script, and none is run here: {advice}")
    if isinstance(error, ValueError | datasets.exceptions.FileNotFoundDatasetsError):
        found = "no such dataset, subset or split, no file of a known format, or it is private"
        return DataFault(f"{source.uri}: {found}: check them and its token", "DataMissing")
    if _is_of_the_way(error):
        return Unavailable(f"{source.uri}: the hub could not be read ({type(error).__name__}): try again")
    if isinstance(error, datasets.exceptions.DatasetsError | pa.ArrowException | UnicodeError | TypeError | KeyError):
        advice = "name a subset of files that are alike, or give one file of it by its URL"
        return DataFault(f"{source.uri}: its files cannot be read as one table ({_innermost(error)}): {advice}")
    return Unavailable(f"{source.uri}: the hub could not be read ({type(error).__name__}): try again")


def _is_of_the_way(error: BaseException) -> bool:
    """Whether a connection, a server or a disk is behind an error of `datasets`."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError | httpx.HTTPError) and not isinstance(link, FileNotFoundError):
            return True
        link = link.__cause__ or link.__context__
    return False


def _innermost(error: BaseException) -> str:
    """The class of what an error began with: its words may hold text of rows."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


def _load(name: str, configuration: dict[str, str], source: DataSource, revision: str | None, token: str | None) -> Any:
    import datasets  # noqa: PLC0415  # as above

    datasets.disable_progress_bars()
    return datasets.load_dataset(name, **configuration, split=source.split, revision=revision, token=token)


def _hub_commit(name: str, revision: str | None, token: str | None) -> str | None:
    """The commit that `revision` names now; None where the hub is out of reach and only a cached copy may serve."""
    from huggingface_hub import HfApi  # noqa: PLC0415  # as above
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        commit: str | None = HfApi(token=token).dataset_info(name, revision=revision).sha
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403, 404):
            found = f"no such dataset or revision (HTTP {error.response.status_code})"
            raise DataFault(f"hf://{name}: {found}: check them and its token", "DataMissing") from error
        return None
    except Exception:  # every kind of broken connection: whether a cached copy serves is seen when it is loaded
        return None
    return commit
