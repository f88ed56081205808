"""Reading tables of posts in Parquet, JSON lines or CSV, some ten thousand rows at a time."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.json as arrow_json
import pyarrow.parquet as parquet
from isal import igzip, isal_zlib

from common.errors import InputError, short

ROWS_AT_ONCE = 2**15
BLOCK_BYTES = 2**23  # of text, parsed at a time; a row of CSV must not be longer
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
# What a damaged gzip file raises; isal's types do not tell that its error is an exception.
DAMAGED_GZIP: Any = (EOFError, igzip.BadGzipFile, isal_zlib.error)
IN_LINES = "expected one JSON object on each line"


def read_batches(
    path: Path, wanted: frozenset[str], check: Callable[[Path, list[str]], None] = lambda file, names: None
) -> Iterator[pa.RecordBatch]:
    """Yield a table's rows.

    Args:
        path: the file, or a folder of Parquet files. CSV and JSON lines may be compressed (`.gz`).
        wanted: names of columns, in small letters; others are not read.
        check: called with each file and the names of all of its columns; may raise an InputError.

    Raises:
        InputError: the file is of another kind, or damaged, or two of the columns have the same name.
    """
    paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"{path} contains no files named .parquet: give a file, or a folder of Parquet files")
    for file in paths:
        rows = 0
        try:
            for batch in _batches(file, wanted, check):
                yield batch
                rows += len(batch)
        except DAMAGED_GZIP:
            raise InputError(f"{file} is cut short, or is no gzip file: copy or download it again") from None
        except pa.ArrowNotImplementedError as error:
            raise InputError(f"{file} cannot be read: {short(str(error))}. Write it anew, as Parquet or CSV") from None
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.strerror:
                raise InputError(f"{file} cannot be read: {error.strerror}") from None
            raise InputError(f"{file} is damaged after row {rows:,}: copy or download it again") from None


def _batches(path: Path, wanted: frozenset[str], check: Callable[[Path, list[str]], None]) -> Iterator[pa.RecordBatch]:
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if suffix == ".gz" else suffix
    if suffix == ".parquet":
        yield from _parquet(path, wanted, check)
    elif inner in JSON_SUFFIXES:
        yield from _json(path, wanted, check)
    elif inner in (".csv", ".tsv"):
        yield from _csv(path, wanted, check)
    else:
        raise InputError(f"{path}: expected a table named .parquet, .jsonl, .json or .csv, the last three perhaps with .gz")


def _parquet(path: Path, wanted: frozenset[str], check: Callable[[Path, list[str]], None]) -> Iterator[pa.RecordBatch]:
    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowInvalid:
        kind = "is empty" if not path.stat().st_size else "is no complete Parquet file"
        raise InputError(f"{path} {kind}: copy or download it again") from None
    with file:
        names = file.schema_arrow.names
        _check_names(path, names, wanted)
        check(path, names)
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[name for name in names if name.lower() in wanted]):
            schema = pa.schema([(field.name, _without_views(field.type)) for field in batch.schema])
            yield batch if schema == batch.schema else batch.cast(schema)


def _without_views(kind: pa.DataType) -> pa.DataType:
    """Return the kind of a column that pyarrow can filter, which it cannot do with views of text."""
    if pa.types.is_list(kind):
        return pa.list_(_without_views(kind.value_type))
    return pa.string() if kind == pa.string_view() else kind


def _json(path: Path, wanted: frozenset[str], check: Callable[[Path, list[str]], None]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of JSON lines. Each block is parsed alone, because columns may begin, or change their kind, later."""
    line, is_first = 1, True
    with _opened(path) as file:
        while block := file.read(BLOCK_BYTES) + file.readline():
            if block.strip():
                table = _json_block(path, block, line, wanted)
                names = table.column_names
                _check_names(path, names, wanted)
                if is_first:
                    check(path, names)
                    is_first = False
                yield from table.select([name for name in names if name.lower() in wanted]).to_batches()
            line += block.count(b"\n")
    if is_first:
        raise InputError(f"{path} is empty: {IN_LINES}")


def _json_block(path: Path, block: bytes, first_line: int, wanted: frozenset[str]) -> pa.Table:
    """Return the rows of some lines; see `_json`. Where pyarrow cannot, values are text: JSON for lists and objects."""
    try:
        block.decode()  # pyarrow does not check it
        options = arrow_json.ReadOptions(use_threads=False, block_size=len(block))
        table = arrow_json.read_json(io.BytesIO(block), options)
        has_objects = any(pa.types.is_struct(field.type) for field in table.schema if field.name.lower() in wanted)
    except (pa.ArrowException, UnicodeDecodeError):  # a damaged line, or a column of several kinds
        has_objects = True
    if has_objects:
        lines = enumerate(block.split(b"\n"), first_line)
        rows = [_json_row(path, number, line) for number, line in lines if line.strip()]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = [pa.array([row.get(name) for row in rows], pa.string()) for name in names]
        table = pa.Table.from_arrays(columns, names=list(names))
    return table


def _json_row(path: Path, number: int, line: bytes) -> dict[str, str | None]:
    """Return the values of a line as text. Raises InputError: it is no object."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
        json.dumps(row, ensure_ascii=False).encode()  # half of a character cannot be
    except UnicodeError:
        raise InputError(f"{path}, line {number:,} is not UTF-8: save the file as UTF-8") from None
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        received = short(line.decode("utf-8-sig", "replace"))
        repair = "jq -c '.[]' makes such lines of an array" if line.strip()[:1] == b"[" else "correct or delete the line"
        raise InputError(f"{path}, line {number:,}: {IN_LINES}, received {received}; {repair}")
    return {name: value if isinstance(value, str | None) else json.dumps(value) for name, value in row.items()}


def _csv(path: Path, wanted: frozenset[str], check: Callable[[Path, list[str]], None]) -> Iterator[pa.RecordBatch]:
    with _opened(path) as file:
        head = file.read(2**16)
    if not head.strip():
        raise InputError(f"{path} is empty: expected a line with the names of the columns")
    if b"\0" in head or head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        raise InputError(f"{path} is not UTF-8: save it as UTF-8")
    header = re.split(r"[\r\n]", head.decode("utf-8-sig", "replace").strip(), maxsplit=1)[0]
    delimiter = max(",\t;|", key=header.count)
    names = next(csv.reader([header], delimiter=delimiter))
    _check_names(path, names, wanted)
    check(path, names)
    try:
        last = None
        with _opened(path) as file:
            for last in arrow_csv.open_csv(
                file,
                arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                arrow_csv.ConvertOptions(
                    include_columns=[name for name in names if name.lower() in wanted],
                    column_types=dict.fromkeys(names, pa.string()),
                ),
            ):
                yield last
    except pa.ArrowInvalid:
        raise _csv_fault(path, delimiter, len(names)) from None
    is_open = last and last.schema.names[-1] == names[-1] and str(last.columns[-1][-1]).endswith("\n")
    if is_open and not _ends_with_quote(path):  # the cell holds all rows after it
        raise InputError(f"{path}: the last row has a cell that starts with a quote and does not end with one: add it")


def _ends_with_quote(path: Path) -> bool:
    """Return whether the last letter of a file is a quote; of compressed files that is not known, and taken for true."""
    if path.suffix.lower() == ".gz":
        return True
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 9))
        return file.read().rstrip().endswith(b'"')


def _csv_fault(path: Path, delimiter: str, width: int) -> InputError:
    """Return the error for the first line that pyarrow cannot have read. It tells neither the line nor what to do."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return InputError(f"{path}, line {number:,} is not UTF-8: save the file as UTF-8")
    quotes = f"a cell with {delimiter!r}, a quote or a line break must be in quotes, and the quotes must end"
    number = 1
    with _opened(path) as file:
        reader = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), delimiter=delimiter)
        try:
            for cells in reader:
                if cells and len(cells) != width:
                    received = f"received {len(cells)}: {short(delimiter.join(cells))}"
                    return InputError(
                        f"{path}, line {number:,}: expected {width} cells as in the first line, {received}; {quotes}"
                    )
                number = reader.line_num + 1
        except csv.Error:
            pass
    return InputError(f"{path}, line {number:,} cannot be read: {quotes}")


def _opened(path: Path) -> IO[bytes]:
    return igzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _check_names(path: Path, names: list[str], wanted: frozenset[str]) -> None:
    counts = Counter(name.lower() for name in names)
    if repeated := [name for name in counts if name in wanted and counts[name] > 1]:
        raise InputError(f"{path} has {counts[repeated[0]]} columns named {repeated[0]}: rename or remove all but one")
