"""Read a user's table of ids and tags: CSV with any usual delimiter, with or without a header."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from common.errors import InputError

DELIMITERS = (",", ";", "\t", "|")
# Column ▶ other names that it has elsewhere.
SYNONYMS = {
    "id": ("file", "filename", "file_name", "image", "path", "md5"),
    "tags": ("tag_string", "labels", "text", "caption"),
}
SAMPLE_ROWS = 20  # read to detect the delimiter of a table without a header


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        line: line number in the file, from 1.
        id: name of the image as the user wrote it.
        tags: the cell of its tags, see `dataset.tag_text`; None if the line has no column for them.
        group: name of the image's group, or empty.
        numbers: the cells of the columns of numbers, as text.
    """

    line: int
    id: str
    tags: str | None
    group: str
    numbers: tuple[str, ...] = ()


def read_table(path: Path, names_image: Callable[[str], bool], numbers: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a table with the columns `id`, `tags` and optionally `group`, in any order.

    Columns may have other usual names (`SYNONYMS`). With a column `tag` instead, each line has one tag. `tags` may be
    missing if there are columns of numbers. The delimiter is a comma, semicolon, tab or pipe. A table without a header has
    two columns, ids and tags, or a third with probabilities; the ids are those that name images. Tags that contain the
    delimiter need no quotes: surplus cells of a line belong to its tags.

    Args:
        path: the table, in UTF-8.
        names_image: returns whether an id names one of the user's images.
        numbers: names of columns of numbers.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or lacks the columns.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default limit is too low for posts with very many tags
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
        first = columns.index("tags")
        cells = [*cells[:first], delimiter.join(cells[first : first + extra + 1]), *cells[first + extra + 1 :]]
        # An unquoted delimiter separates tags as a comma does.
        cells[first] = cells[first].replace(delimiter, ",")
    by_column = dict(zip(columns, cells, strict=False))
    # A cell of the column `tag` is one tag, whatever it holds: a list with one entry.
    tags = json.dumps([by_column["tag"]]) if "tag" in by_column else by_column.get("tags")
    values = tuple(by_column.get(number.lower(), "").strip() for number in numbers)
    return Row(line, by_column.get("id", "").strip(), tags, by_column.get("group", "").strip(), values)


def _layout(path: Path, names_image: Callable[[str], bool], numbers: Sequence[str]) -> tuple[list[str], str, bool]:
    """The table's columns, its delimiter, and whether its first line is a header."""
    starts = {delimiter: _start(path, delimiter) for delimiter in DELIMITERS}
    for delimiter, rows in starts.items():
        columns = _with_usual_names([cell.strip().lower() for cell in rows[0]] if rows else [])
        if {"id", *(map(str.lower, numbers) if numbers else ("tag" if "tag" in columns else "tags",))} <= set(columns):
            return columns, delimiter, True
    if numbers:
        wanted = ", ".join(("id", *numbers))
        raise InputError(f"{path} has no columns that can be used: expected a first line with {wanted}")
    best: tuple[int, list[str], str] = (0, [], "")
    for delimiter, rows in starts.items():
        rows = [cells for cells in rows if len(cells) > 1]
        scored = ["id", "tag", "probability"] if all(len(cells) == 3 and _is_share(cells[2]) for cells in rows) else []
        for columns, position in ((scored or ["id", "tags"], 0), (["tags", "id"], -1)):
            matches = sum(names_image(cells[position].strip()) for cells in rows)
            if matches > best[0] and names_image(rows[0][position].strip()):
                best = (matches, columns, delimiter)
    if best[0]:
        return best[1], best[2], False
    with path.open(encoding="utf-8-sig") as file:
        received = file.readline(200).strip()
    raise InputError(
        f"{path} has no columns that can be used: expected a first line with the columns id and tags, or an image's id "
        f"and its tags on each line; the first line is {received!r}"
    )


def _with_usual_names(columns: list[str]) -> list[str]:
    """Return a header in which the first of a column's other names stands for it, where the column itself is missing."""
    for name, others in SYNONYMS.items():
        found = next((other for other in others if other in columns), None)
        if name not in columns and found:
            columns = [name if column == found else column for column in columns]
    return columns


def _is_share(cell: str) -> bool:
    """Return whether a cell is a number from 0 to 1, such as the probability of a tag."""
    try:
        return 0 <= float(cell) <= 1
    except ValueError:
        return False


def _start(path: Path, delimiter: str) -> list[list[str]]:
    """The first rows, split at this delimiter, up to a row whose quotes are not valid with it."""
    rows = []
    try:
        for _, cells in islice(_records(path, delimiter), SAMPLE_ROWS):
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
                if line == 1 and delimiter.join(cells).lower().startswith("sep="):
                    line = 2
                    continue  # Excel's own line, which names the delimiter
                if any(cell.strip() for cell in cells):
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise csv.Error(f"line {line:,}: {error}") from error
