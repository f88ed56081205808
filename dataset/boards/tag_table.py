"""A user's CSV of ids and tags ▶ rows, whatever its dialect."""

import csv
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from command import InputError

DELIMITERS = (",", ";", "\t", "|")
COLUMNS = ("id", "tags", "group")
ROWS_TRIED = 20  # to find the delimiter of a table without a header


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        line: its line number in the file, from 1.
        id: the image's name as the user wrote it.
        tags: the tags, each once, in order; None where the line has no column for them.
        group: the image's group, or empty.
        numbers: the cells of the columns that hold numbers.
    """

    line: int
    id: str
    tags: tuple[str, ...] | None
    group: str
    numbers: tuple[str, ...] = ()


def ranks(values: Sequence[float]) -> np.ndarray:
    """The share of the values that are below each, ties counting half: (values,), between 0 and 1."""
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    return ((np.cumsum(counts) - counts / 2) / len(values))[level]


def split_tags(cell: str) -> tuple[str, ...]:
    """Separate tags at commas and line breaks, or at spaces where there is neither.

    Tags are kept as they are written, but for white space around them and runs of it inside; each is kept once.
    """
    parts = re.split(r"[,\r\n]", cell.strip())
    if len(parts) == 1:
        parts = parts[0].split()
    tags = (" ".join(part.split()) for part in parts)
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def read_table(path: Path, names_image: Callable[[str], bool], numbers: Sequence[str] = ()) -> Iterator[Row]:
    """Read a table with the columns `id` and `tags`, and perhaps `group`, in any order; `tags` may lack beside numbers.

    The delimiter is a comma, semicolon, tab or pipe. A table without a header has an id and tags alone, in the order in
    which the ids name images. Tags that hold the delimiter need no quotes: what a line has too much belongs to them.

    Args:
        path: the table, UTF-8.
        names_image: whether an id names one of the user's images.
        numbers: the names of columns that hold numbers.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has no columns of this kind.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses posts with very many tags
    try:
        columns, delimiter, has_header = _layout(path, names_image, numbers)
        for line, cells in islice(_records(path, delimiter), int(has_header), None):
            yield _row(line, cells, columns, delimiter, numbers)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start:,}): save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}, {error}: a cell that starts with a quote must end with one") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _row(line: int, cells: list[str], columns: list[str], delimiter: str, numbers: Sequence[str]) -> Row:
    extra = len(cells) - len(columns)
    if extra > 0 and "tags" in columns:
        at = columns.index("tags")
        cells = [*cells[:at], delimiter.join(cells[at : at + extra + 1]), *cells[at + extra + 1 :]]
        # An unquoted delimiter separates tags as a comma does.
        cells[at] = cells[at].replace(delimiter, ",")
    named = dict(zip(columns, cells, strict=False))
    tags = split_tags(named["tags"]) if "tags" in named else None
    values = tuple(named.get(number.lower(), "").strip() for number in numbers)
    return Row(line, named.get("id", "").strip(), tags, named.get("group", "").strip(), values)


def _layout(path: Path, names_image: Callable[[str], bool], numbers: Sequence[str]) -> tuple[list[str], str, bool]:
    """The table's columns, its delimiter, and whether its first line is a header."""
    starts = {delimiter: _start(path, delimiter) for delimiter in DELIMITERS}
    for delimiter, rows in starts.items():
        columns = [cell.strip().lower() for cell in rows[0]] if rows else []
        if {"id", *(map(str.lower, numbers) if numbers else ("tags",))} <= set(columns):
            return columns, delimiter, True
    if numbers:
        raise InputError(f"{path} has no columns that can be used: expected a first line with {', '.join(('id', *numbers))}")
    best: tuple[int, list[str], str] = (0, [], "")
    for delimiter, rows in starts.items():
        rows = [cells for cells in rows if len(cells) > 1]
        for columns, at in ((["id", "tags"], 0), (["tags", "id"], -1)):
            named = sum(names_image(cells[at].strip()) for cells in rows)
            if named > best[0] and names_image(rows[0][at].strip()):
                best = (named, columns, delimiter)
    if best[0]:
        return best[1], best[2], False
    with path.open(encoding="utf-8-sig") as file:
        received = file.readline(200).strip()
    raise InputError(
        f"{path} has no columns that can be used: expected a first line with the columns id and tags, or an image's id "
        f"and its tags on each line; the first line is {received!r}"
    )


def _start(path: Path, delimiter: str) -> list[list[str]]:
    """The first rows as this delimiter would have them, up to where its quotes make no sense."""
    rows = []
    try:
        for _, cells in islice(_records(path, delimiter), ROWS_TRIED):
            rows.append(cells)
    except csv.Error:
        pass
    return rows


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
        line = 1
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise csv.Error(f"line {line:,}: {error}") from error
