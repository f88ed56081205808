"""Read a user's table of ids and tags: CSV with any usual delimiter, with or without a header, or JSON."""

import codecs
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from common.errors import InputError
from dataset import picture_files
from dataset.boards.annotation import in_one_line
from dataset.boards.tag_json import cell, entry
from dataset.boards.visibility import says_yes

DELIMITERS = (",", ";", "\t", "|")
# Column ▶ other names that it has elsewhere.
SYNONYMS = {
    "id": ("file", "filename", "file_name", "image", "path", "md5"),
    "tags": ("tag_string", "labels", "text", "caption"),
}
RATINGS = ("rating", "safety", "content_rating")  # columns that state a rating
FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": False}
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
KEPT = ("id", "group", *RATINGS)  # columns that never say whether an image has a tag
SAMPLE_ROWS = 20  # read to detect the delimiter and the columns


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        line: line number in the file, from 1; in JSON the number of the entry.
        id: name of the image as the user wrote it.
        tags: the cell of its tags, see `dataset.tag_text`; None if the line has no column for them.
        group: name of the image's group, or empty.
        numbers: the cells of the columns of numbers, as text.
        ratings: the cells of its ratings that are not empty, and `nsfw` if a column of that name says yes.
    """

    line: int
    id: str
    tags: str | None
    group: str
    numbers: tuple[str, ...] = ()
    ratings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """What a user says about the columns of a table.

    Attributes:
        numbers: names of columns of numbers.
        id, tags: names of the columns with the images' ids and their tags; empty: the usual ones.
    """

    numbers: Sequence[str] = ()
    id: str = ""
    tags: str = ""


@dataclass(frozen=True)
class _Layout:
    """How a table is written.

    Attributes:
        columns: its columns in small letters; those that are used have their names here: id, tags, tag, group or rating.
        delimiter: what separates cells.
        has_header: whether the first line names the columns.
        flags: position ▶ tag, for columns that say with 1 or 0 whether an image has a tag.
    """

    columns: list[str]
    delimiter: str
    has_header: bool
    flags: dict[int, str]


def read_table(path: Path, names_image: Callable[[str], bool], wanted: Columns = Columns()) -> Iterator[Row]:
    """Yield the rows of a table with the columns `id`, `tags` and optionally `group` and `rating`, in any order.

    Columns may have other usual names (`SYNONYMS`); of several for the id, the one that names most images counts. With a
    column `tag` instead of `tags`, each line has one tag; without either, columns of zeros and ones are tags. `tags` may be
    missing if there are columns of numbers. The delimiter is a comma, semicolon, tab or pipe. A table without a header has
    two columns, ids and tags, or a third with probabilities; the ids are those that name images. Tags that contain the
    delimiter need no quotes: surplus cells of a line belong to its tags. A JSON file holds an array of objects, an object on
    each line, or one object with an entry for each id; what a CSV has in columns, these have under the same names.

    Args:
        path: the table, in UTF-8, or in UTF-16 with its mark.
        names_image: returns whether an id names one of the user's images.
        wanted: what the user says about the columns.

    Raises:
        InputError: the file cannot be read, is not text, or lacks the columns.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PAR1":
                raise InputError(
                    f"{path} is a Parquet file: expected CSV or JSON; a board's own table belongs to --board table"
                )
        if path.suffix.lower() in JSON_SUFFIXES:
            yield from _json_rows(path, names_image, wanted)
            return
        layout = _layout(path, names_image, wanted)
        for line, cells in islice(_records(path, layout.delimiter), int(layout.has_header), None):
            if layout.flags:
                cells = _with_flagged(path, line, cells, layout)
            yield _row(line, cells, layout, wanted.numbers)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start:,}): save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}, {error}: a cell that starts with a quote must end with one") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _row(line: int, cells: list[str], layout: _Layout, numbers: Sequence[str]) -> Row:
    columns, delimiter = layout.columns, layout.delimiter
    extra = len(cells) - len(columns)
    if extra > 0 and "tags" in columns and not layout.flags:
        first = columns.index("tags")
        cells = [*cells[:first], delimiter.join(cells[first : first + extra + 1]), *cells[first + extra + 1 :]]
        # An unquoted delimiter separates tags as a comma does.
        cells[first] = cells[first].replace(delimiter, ",")
    by_column = dict(zip(columns, cells, strict=False))
    # A cell of the column `tag` is one tag, whatever it holds: a list with one entry.
    tags = json.dumps([by_column["tag"]]) if "tag" in by_column else by_column.get("tags")
    values = tuple(by_column.get(number.lower(), "").strip() for number in numbers)
    others = {name: cell.strip() for name, cell in by_column.items() if name not in set(map(str.lower, numbers))}
    ratings = [others[name] for name in RATINGS if others.get(name)]
    if not layout.flags and says_yes(others.get("nsfw", "")):  # among columns of tags it is a tag
        ratings.append("nsfw")
    return Row(line, by_column.get("id", "").strip(), tags, by_column.get("group", "").strip(), values, tuple(ratings))


def _with_flagged(path: Path, line: int, cells: list[str], layout: _Layout) -> list[str]:
    """Return the cells and, as the last one, the list of the tags whose columns say yes."""
    width = len(layout.columns) - 1
    if len(cells) > width:
        raise InputError(f"{path}, line {line:,}: expected at most {width} cells, received {len(cells)}")
    cells, chosen = cells + [""] * (width - len(cells)), []
    for position, tag in layout.flags.items():
        cell = cells[position].strip().lower()
        if cell not in FLAGS:
            raise InputError(f"{path}, line {line:,}: expected 1 or 0 in the column {tag}, received {cell!r}")
        if FLAGS[cell]:
            chosen.append(tag)
    return [*cells, json.dumps(chosen)]


def _layout(path: Path, names_image: Callable[[str], bool], wanted: Columns) -> _Layout:
    """Find out how a table is written."""
    starts = {delimiter: _start(path, delimiter) for delimiter in DELIMITERS}
    for delimiter, rows in starts.items():
        header = [cell.strip() for cell in rows[0]] if rows else []
        columns = _with_usual_names([cell.lower() for cell in header], rows[1:], names_image, wanted)
        if "id" in columns and set(map(str.lower, wanted.numbers)) <= set(columns):
            if wanted.numbers or {"tag", "tags"} & set(columns):
                return _Layout(columns, delimiter, True, {})
            flags = {number: name for number, name in enumerate(header) if name and columns[number] not in KEPT}
            if flags and len(rows) > 1 and all(_is_flag(cells, position) for cells in rows[1:] for position in flags):
                return _Layout([*columns, "tags"], delimiter, True, flags)
    if wanted.id or wanted.tags:
        names = f"{wanted.id or 'id'} and {wanted.tags or 'tags'}"
        raise InputError(f"{path} lacks a column: expected a first line with {names}")
    if wanted.numbers:
        names = ", ".join(("id", *wanted.numbers))
        raise InputError(f"{path} has no columns that can be used: expected a first line with {names}")
    best: tuple[int, _Layout | None] = (0, None)
    for delimiter, rows in starts.items():
        rows = [cells for cells in rows if len(cells) > 1]
        scored = ["id", "tag", "probability"] if all(len(cells) == 3 and _is_share(cells[2]) for cells in rows) else []
        for columns, position in ((scored or ["id", "tags"], 0), (["tags", "id"], -1)):
            matches = sum(names_image(cells[position].strip()) for cells in rows)
            if matches > best[0] and _is_id(rows[0][position].strip(), names_image):
                best = (matches, _Layout(columns, delimiter, False, {}))
    if best[1]:
        return best[1]
    with path.open(encoding=_encoding(path)) as file:
        received = file.readline(200).strip()
    raise InputError(
        f"{path} has no columns that can be used: expected a first line with the columns id and tags (or name yours: "
        f"--id-column, --tags-column), or an image's id and its tags on each line; the first line is {received!r}"
    )


def _with_usual_names(
    columns: list[str], rows: list[list[str]], names_image: Callable[[str], bool], wanted: Columns
) -> list[str]:
    """Return a header in which the columns that are used have their names here."""
    asked = {"id": wanted.id.strip().lower(), "tags": wanted.tags.strip().lower()}
    for name, others in SYNONYMS.items():
        candidates = [asked[name]] if asked.get(name) else [each for each in (name, *others) if each in columns]
        if name == "id" and len(candidates) > 1:
            positions = {each: columns.index(each) for each in candidates}
            candidates = sorted(candidates, key=lambda each: -_matches(rows, positions[each], names_image))
        if candidates:
            columns = [name if each == candidates[0] else f"other {name}" if each == name else each for each in columns]
    return columns


def _matches(rows: list[list[str]], position: int, names_image: Callable[[str], bool]) -> int:
    return sum(names_image(cells[position].strip()) for cells in rows if position < len(cells))


def _is_id(cell: str, names_image: Callable[[str], bool]) -> bool:
    """Return whether a cell of the first line is an image's id, perhaps of a missing image, and not the name of a column."""
    known = picture_files.suffixes() | picture_files.PLUG_INS.keys()
    return names_image(cell) or Path(cell).suffix.lower() in known or any(map(str.isdecimal, cell))


def _is_flag(cells: list[str], position: int) -> bool:
    return position >= len(cells) or cells[position].strip().lower() in FLAGS


def _json_rows(path: Path, names_image: Callable[[str], bool], wanted: Columns) -> Iterator[Row]:
    """Yield the rows of a JSON file."""
    with path.open(encoding=_encoding(path)) as file:
        text = file.read()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        try:
            content = [json.loads(line) for line in text.split("\n") if line.strip()]
        except (ValueError, RecursionError):
            raise InputError(f"{path} is neither JSON nor JSON on each line: {in_one_line(error)}") from None
    if isinstance(content, dict):
        is_entry = not {"id", "tags", *SYNONYMS["id"], *SYNONYMS["tags"]} & content.keys()
        content = [entry(name, each) for name, each in content.items()] if is_entry else [content]
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise InputError(f"{path}: expected an array of objects with the keys id and tags")
    names = list(dict.fromkeys(name for entry in content for name in entry))
    sample = [[str(entry.get(name, "")) for name in names] for entry in content[:SAMPLE_ROWS]]
    columns = _with_usual_names([name.lower() for name in names], sample, names_image, wanted)
    if "id" not in columns or not (wanted.numbers or {"tag", "tags"} & set(columns)):
        expected = f"{wanted.id or 'id'} and {wanted.tags or 'tags'}"
        raise InputError(f"{path}: expected objects with the keys {expected}; theirs are {', '.join(names[:5])}")
    layout = _Layout(columns, ",", True, {})
    for number, each in enumerate(content, 1):
        yield _row(number, [cell(each.get(name)) for name in names], layout, wanted.numbers)


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
    with path.open(newline="", encoding=_encoding(path)) as file:
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


def _encoding(path: Path) -> str:
    """Return the encoding of a text file, which its first bytes say if it is UTF-16."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
