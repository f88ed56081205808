"""The cells of a board's table as values: ids, scores, days and ratings. What cannot be read is null here, and counted."""

import datetime
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import say, short
from dataset.boards.post_json import UNIX_DATE
from dataset.boards.visibility import WORDS

# What programs write for a value that is missing.
NO_VALUE = ("", "null", "none", "nan", "nat", "<na>", "\\n", "0000-00-00", "0000-00-00 00:00:00")
LARGEST_ID = 10**18  # and above; numbers of floating point are exact up to 2**53
LARGEST_SCORE = 10**9
NUMBER = r"^[+-]?(\d{1,18}\.?\d*|\.\d+)(e[+-]?\d\d?)?$"
DAY_FIRST = r"^\d{4}-\d\d-\d\d([T ].*)?$"
DATE = re.compile(r"(\d{4})[-/.](\d\d?)[-/.](\d\d?)(?:[T ].*)?")
SECONDS = re.compile(r"(\d{9,10})(?:\.\d*)?|(\d{12,13})")  # since 1970, or milliseconds: of the years 1973 to 2286
# A board's word for a rating ▶ its letter in `post_filter.RATINGS`.
LETTER_OF = {"general": "g", "sensitive": "n", "safe": "s", "questionable": "q", "explicit": "e"}
LETTERS = {word: LETTER_OF[rating] for word, rating in WORDS.items()}
# Kind ▶ how many were not read, and what follows from it.
MESSAGES = {
    "id": "{} rows have no id that is a whole number and are not used, such as {}",
    "score": "{} scores cannot be read as whole numbers and count as missing, such as {}",
    "created_at": "{} dates cannot be read and count as missing, such as {}; expected the form 2021-03-05",
    "parent_id": "{} parents cannot be read as ids and count as missing, such as {}",
    "rating": "{} ratings are not known and count as not safe, such as {}; expected " + ", ".join(LETTER_OF),
}


class Unreadable:
    """Counts the cells that cannot be read, and remembers an example of each kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}

    def count(self, kind: str, given: pa.Array, read: pa.Array, ids: pa.Array) -> None:
        """Count the cells that are neither missing nor read.

        Args:
            kind: one of `MESSAGES`.
            given, read: the cells as text, and what was read from them or null, (rows,).
            ids: ids of the posts as text, (rows,).
        """
        if not read.null_count:
            return
        self.add(kind, pc.and_(pc.is_null(read), pc.invert(is_missing(given))), given, ids)

    def add(self, kind: str, mask: pa.Array, given: pa.Array, ids: pa.Array | None = None) -> None:
        """Count the cells of a mask, bool (rows,)."""
        if not mask.true_count:
            return
        self._counts[kind] = self._counts.get(kind, 0) + mask.true_count
        row = pc.index(mask, True).as_py()
        post = f" of post {ids[row]}" if ids is not None else ""
        self._examples.setdefault(kind, f"{short(given[row].as_py() or '')}{post}")

    def report(self) -> None:
        """Print a line for each kind."""
        for kind, message in MESSAGES.items():
            if kind in self._counts:
                say(message.format(f"{self._counts[kind]:,}", self._examples[kind]))


def text_of(column: pa.Array | None, length: int) -> pa.Array:
    """Return a column as text without white space around it; null where there is no value. None: there is no column.

    Raises errors of pyarrow: it is of a kind that has no text, such as lists.
    """
    if column is None:
        return pa.nulls(length, pa.string())
    return pc.utf8_trim_whitespace(pc.cast(column, pa.string()))


def is_missing(texts: pa.Array) -> pa.Array:
    """Return which texts stand for a value that is missing, bool (rows,)."""
    return pc.or_kleene(pc.is_null(texts), pc.is_in(pc.utf8_lower(texts), pa.array(NO_VALUE)))


def read_ids(column: pa.Array | None, length: int) -> pa.Array:
    """Return ids as text without leading zeros, null where a cell is no whole number, (rows,)."""
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(length, pa.string())
    if pa.types.is_floating(column.type):  # whole numbers with gaps, as pandas writes them
        column = pc.cast(column, pa.float64())
        exact = pc.and_(pc.equal(column, pc.floor(column)), pc.less(column, 2.0**53))
        column = pc.cast(pc.if_else(exact, column, None), pa.int64())
    if pa.types.is_integer(column.type):
        is_id = pc.and_(pc.greater_equal(column, 0), pc.less(column, LARGEST_ID))
        return pc.cast(column if pc.all(is_id).as_py() else pc.if_else(is_id, column, None), pa.string())
    texts = text_of(column, length)
    if pc.all(pc.match_substring_regex(texts, r"^[1-9]\d{0,17}$"), min_count=0).as_py() and not texts.null_count:
        return texts
    return pc.struct_field(pc.extract_regex(texts, r"^0*(?P<id>\d{1,18})(?:\.0*)?$"), "id")


def read_scores(texts: pa.Array) -> pa.Array:
    """Return scores as the text of a whole number, null where a cell is none, (rows,)."""
    texts = pc.utf8_lower(texts)
    numbers = pc.cast(pc.if_else(pc.match_substring_regex(texts, NUMBER), texts, None), pa.float64())
    is_whole = pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), LARGEST_SCORE))
    return pc.cast(pc.cast(pc.if_else(is_whole, numbers, None), pa.int64()), pa.string())


def read_days(texts: pa.Array) -> pa.Array:
    """Return dates and times as days such as 2020-12-31, null where a cell is none or its order is not known, (rows,)."""
    days = pc.if_else(pc.match_substring_regex(texts, DAY_FIRST), pc.utf8_slice_codeunits(texts, 0, 10), texts)
    distinct = pc.unique(days.drop_null())  # few
    read = pa.array([_day(text) for text in distinct.to_pylist()], pa.string())
    return read.take(pc.index_in(days, distinct))


def _day(text: str) -> str | None:
    try:
        if matched := DATE.fullmatch(text):
            return datetime.date(*map(int, matched.groups())).isoformat()
        if matched := SECONDS.fullmatch(text):
            seconds = int(matched[1] or matched[2][:-3])
            return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).date().isoformat()
        return datetime.datetime.strptime(text, UNIX_DATE).astimezone(datetime.timezone.utc).date().isoformat()
    except (ValueError, OverflowError):
        return None


def read_words(texts: pa.Array) -> pa.Array:
    """Return ratings as words or letters in small letters, without the namespace `rating:`, (rows,)."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(texts), r"^rating:", ""))


def as_integers(texts: pa.Array) -> np.ndarray:
    """Return ids as numbers, int64 (rows,)."""
    return pc.cast(texts, pa.int64()).to_numpy()
