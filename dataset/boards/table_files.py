"""Reading tables of posts in Parquet, JSON lines or CSV, some ten thousand rows at a time."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.json as arrow_json
import pyarrow.parquet as parquet

from common.errors import InputError

ROWS_AT_ONCE = 2**15
BLOCK_BYTES = 2**23  # of text, parsed at a time; a row must not be longer
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")


def read_batches(path: Path, wanted: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """Yield a table's rows.

    Args:
        path: the file, or a folder of Parquet files. CSV and JSON lines may be compressed (`.gz`).
        wanted: names of columns, in small letters; others are not read.

    Raises:
        InputError: the file is of another kind, or damaged.
    """
    paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"{path} contains no files named .parquet: give a file, or a folder of Parquet files")
    for file in paths:
        rows = 0
        try:
            for batch in _batches(file, wanted):
                yield batch
                rows += len(batch)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{file} cannot be read after row {rows:,}: {reason}") from None


def _batches(path: Path, wanted: frozenset[str]) -> Iterator[pa.RecordBatch]:
    suffix = Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix == ".parquet":
        with parquet.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name.lower() in wanted]
            yield from file.iter_batches(ROWS_AT_ONCE, columns=columns)
    elif suffix in JSON_SUFFIXES:
        with pa.input_stream(str(path)) as stream:
            yield from arrow_json.open_json(stream, arrow_json.ReadOptions(block_size=BLOCK_BYTES))
    elif suffix in (".csv", ".tsv"):
        with pa.input_stream(str(path)) as stream:
            header = stream.read(2**16).split(b"\n")[0].decode("utf-8-sig", "replace").strip()
        delimiter = max(",\t;|", key=header.count)
        columns = [name.strip('" ') for name in header.split(delimiter)]
        with pa.input_stream(str(path)) as stream:
            yield from arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                arrow_csv.ConvertOptions(
                    include_columns=[name for name in columns if name.lower() in wanted],
                    column_types=dict.fromkeys(columns, pa.string()),
                ),
            )
    else:
        raise InputError(f"{path}: expected a table named .parquet, .jsonl, .json or .csv")
