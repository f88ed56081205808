"""The rows of a board's table in the form of e621's export, which `post_filter` reads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import InputError, say
from dataset.boards.post_filter import COLUMNS
from dataset.boards.post_json import CATEGORY_OF
from dataset.boards.table_tags import TagCells
from dataset.boards.table_values import (
    LETTERS,
    NO_VALUE,
    Unreadable,
    as_integers,
    is_missing,
    read_days,
    read_ids,
    read_scores,
    read_words,
    text_of,
)
from dataset.boards.tag_rules import TagRules
from dataset.records import CATEGORIES

# Column of an export ▶ the names that it has in tables, the first that is there.
SYNONYMS = {
    "id": ("id", "post_id"),
    "created_at": ("created_at", "date"),
    "md5": ("md5", "file_md5"),
    "rating": ("rating",),
    "tag_string": ("tag_string", "tags"),
    "parent_id": ("parent_id",),
    "is_deleted": ("is_deleted",),
    "is_pending": ("is_pending",),
    "is_banned": ("is_banned",),
    "score": ("score",),
}
TAG_COLUMNS = {f"tag_string_{name}": category for name, category in CATEGORY_OF.items()}
RATING = frozenset(("rating", "is_banned", *TAG_COLUMNS))  # what tells the board from others
WANTED = frozenset(name for names in SYNONYMS.values() for name in names) | TAG_COLUMNS.keys()
TAGS = frozenset((*TAG_COLUMNS, *SYNONYMS["tag_string"], *SYNONYMS["id"], *SYNONYMS["md5"]))  # and what tells their posts
# What is missing counts as this: no date and no score pass no limit, and the size is that of the picture itself.
MISSING = {"created_at": "0000-00-00", "score": "-999999999", "image_width": "1", "image_height": "1", "file_size": "0"}
MISSING |= {"md5": "0" * 32, "file_ext": "jpg"}
MD5_DIGITS = 32
NO = ("false", "f", "no", "n", "0", "0.0", *NO_VALUE)  # any other word is taken for yes


class Rows:
    """Takes the rows that have a picture, and remembers which picture belongs to which post.

    Args:
        pictures: id or MD5 in the name of a picture, in small letters ▶ id of the picture.
        ratings: the different ratings of the table, in small letters. They tell which board's `s` it is.
        columns: names of the table's columns, in small letters.
        tags: reads the cells with tags.

    Attributes:
        picture_of_post: id of a post ▶ id of its picture.
        repeated: number of rows of a post that the table has already.
        rejected: (id of a picture, reason) of those whose row cannot be used.
    """

    def __init__(self, pictures: dict[str, str], ratings: set[str], columns: set[str], tags: TagCells):
        self.picture_of_post: dict[int, str] = {}
        self.repeated = 0
        self.rejected: list[tuple[str, str]] = []
        self._example = ""  # of a row that repeats a post
        self._taken: set[str] = set()  # ids of pictures
        self._pictures = pictures
        self._keys = pa.array(list(pictures), pa.string())
        self._has_md5s = any(len(key) == MD5_DIGITS for key in pictures)
        self._links: list[tuple[np.ndarray, np.ndarray]] = []
        self._letters = _letters(ratings, columns)
        self._tags = tags
        self._unreadable = Unreadable()

    def sample(self, batch: pa.RecordBatch) -> None:
        """Show the tags of rows that have a picture to the reader of tags."""
        rows = batch.filter(pc.is_valid(self._positions(batch, read_ids(_column(batch, "id"), len(batch)))))
        columns = _tag_columns(rows)
        # A column of one category has cells of one tag, such as steins;gate, which tell nothing.
        general = [name for name in (*SYNONYMS["tag_string"], "tag_string_general") if name in columns]
        for name in general or columns:
            self._tags.sample(columns[name])

    def usable(self, batch: pa.RecordBatch, rules: TagRules) -> pa.RecordBatch:
        """Return the rows that have a picture, with the columns of an export.

        Args:
            batch: rows of the table.
            rules: learns the categories of tags.

        Raises:
            ValueError: a column is of a kind that cannot be read.
        """
        given = _column(batch, "id")
        ids = read_ids(given, len(batch))
        if ids.null_count:
            self._unreadable.add("id", pc.is_null(ids), text_of(given, len(batch)))
        parents = read_ids(_column(batch, "parent_id"), len(batch))
        self._remember_links(ids, parents)
        chosen = self._with_picture(ids, self._positions(batch, ids))
        batch, ids, parents = (each.filter(chosen) for each in (batch, ids, parents))  # few rows have a picture
        texts = {name: text_of(_column(batch, name), len(batch)) for name in SYNONYMS if name not in ("id", "tag_string")}
        self._unreadable.count("parent_id", texts["parent_id"], parents, ids)
        texts |= {"id": ids, "parent_id": parents} | self._values(texts, ids)
        tags = {name: self._tags.read(column, ids) for name, column in _tag_columns(batch).items()}
        for name, category in TAG_COLUMNS.items():
            if name in tags:
                _learn(rules, tags[name], category)
        columns = {name: pa.array([value] * len(batch), pa.string()) for name, value in MISSING.items()}
        columns |= {name: pc.fill_null(column, MISSING.get(name, "")) for name, column in texts.items()}
        columns["tag_string"] = _union(list(tags.values()), len(batch))
        export = pa.RecordBatch.from_arrays([columns[name] for name in COLUMNS], names=list(COLUMNS))
        return self._without_damaged(export)

    def links(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of children and of their parents, of all rows: int64 (links,) each."""
        if not self._links:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        children, parents = zip(*self._links, strict=True)
        return np.concatenate(children), np.concatenate(parents)

    def pictures_without_row(self) -> list[str]:
        """Return the ids of pictures that no row had."""
        return sorted(set(self._pictures.values()) - set(self.picture_of_post.values()))

    def report(self) -> None:
        """Print what could not be read, and what was decided about it."""
        self._tags.report()
        self._unreadable.report()
        if self.repeated:
            say(
                f"{self.repeated:,} rows are of a post that the table has already, such as {self._example}: the first counts"
            )

    def _positions(self, batch: pa.RecordBatch, ids: pa.Array) -> pa.Array:
        """Return the position of each row's picture among those that are known, null where there is none, int32 (rows,)."""
        position = pc.index_in(ids, self._keys, skip_nulls=True)
        if self._has_md5s:
            md5s = pc.utf8_lower(text_of(_column(batch, "md5"), len(batch)))
            position = pc.coalesce(position, pc.index_in(md5s, self._keys, skip_nulls=True))
        return position

    def _with_picture(self, ids: pa.Array, position: pa.Array) -> pa.Array:
        """Return which rows have a picture that no earlier row had, bool (rows,)."""
        taken = np.zeros(len(position), bool)
        rows = np.flatnonzero(pc.is_valid(position).to_numpy(zero_copy_only=False))
        names = self._keys.take(position.drop_null()).to_pylist()
        for row, key, post_id in zip(rows.tolist(), names, ids.take(pa.array(rows)).to_pylist(), strict=True):
            if post_id is None:
                continue  # `pictures_without_row` has its picture
            if int(post_id) in self.picture_of_post or self._pictures[key] in self._taken:
                self.repeated += 1
                self._example = self._example or f"post {post_id} with {self._pictures[key]}"
                continue
            self._taken.add(self._pictures[key])
            self.picture_of_post[int(post_id)] = self._pictures[key]
            taken[row] = True
        return pa.array(taken)

    def _values(self, texts: dict[str, pa.Array], ids: pa.Array) -> dict[str, pa.Array]:
        """Return dates, scores, ratings and flags in the form of an export, null where there is none."""
        read = {"created_at": read_days(texts["created_at"]), "score": read_scores(texts["score"])}
        letters = self._letters
        words = read_words(texts["rating"])
        read["rating"] = pa.array(list(letters.values())).take(pc.index_in(words, pa.array(list(letters))))
        for name, values in read.items():
            self._unreadable.count(name, texts[name], values, ids)
        read["rating"] = pc.fill_null(read["rating"], "u")
        is_md5 = pc.match_substring_regex(pc.utf8_lower(texts["md5"]), r"^[0-9a-f]{32}$")
        read["md5"] = pc.if_else(is_md5, pc.utf8_lower(texts["md5"]), None)
        is_set = {
            name: pc.invert(pc.or_kleene(is_missing(texts[name]), pc.is_in(pc.utf8_lower(texts[name]), pa.array(NO))))
            for name in ("is_deleted", "is_pending", "is_banned")
        }
        flags = {"is_deleted": pc.or_(is_set["is_deleted"], is_set["is_banned"]), "is_pending": is_set["is_pending"]}
        return read | {name: pc.if_else(flag, "t", "f") for name, flag in flags.items()}

    def _without_damaged(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows whose tags can be read, and reject the others."""
        is_damaged = pc.is_null(rows["tag_string"])
        reason = "its tags are a list that is not complete, or an object: expected a list or tags with spaces between them"
        self.rejected += [(self.picture_of_post[int(each)], reason) for each in rows["id"].filter(is_damaged).to_pylist()]
        return rows.filter(pc.invert(is_damaged)) if is_damaged.true_count else rows

    def _remember_links(self, ids: pa.Array, parents: pa.Array) -> None:
        if parents.null_count == len(parents):
            return
        is_link = pc.and_kleene(pc.and_(pc.is_valid(ids), pc.is_valid(parents)), pc.not_equal(parents, "0"))
        children, parents = (each.filter(is_link) for each in (ids, parents))
        if len(children):
            self._links.append((as_integers(children), as_integers(parents)))


def ratings_in(batch: pa.RecordBatch) -> set[str]:
    """Return the different ratings of some rows, in small letters."""
    column = _column(batch, "rating")
    return set() if column is None else set(read_words(pc.unique(text_of(column, len(batch))).drop_null()).to_pylist())


def learn_tags(batch: pa.RecordBatch, rules: TagRules, tags: TagCells) -> None:
    """Tell the rules the names and categories of all tags of some rows."""
    columns = _tag_columns(batch)
    for name in sorted(columns, key=lambda name: name not in TAG_COLUMNS):  # the first category that is told counts
        _learn(rules, tags.read(columns[name]), TAG_COLUMNS.get(name, "general"))


def check_columns(file: Path, names: list[str]) -> None:
    """Raise an InputError if a file of the table lacks a column that is needed.

    Args:
        file: the file.
        names: the names of its columns.
    """
    found = set(map(str.lower, names))
    missing = [] if found & set(SYNONYMS["id"]) else [" or ".join(SYNONYMS["id"])]
    if not found & (set(SYNONYMS["tag_string"]) | TAG_COLUMNS.keys()):
        missing.append(" or ".join(SYNONYMS["tag_string"]))
    if missing:
        received = ", ".join(names)[:200]
        raise InputError(
            f"{file}: expected columns named {' and '.join(missing)}, separated by commas, semicolons, tabs or pipes. "
            f"Received: {received}. Rename the columns that hold them"
        )


def _letters(ratings: set[str], columns: set[str]) -> dict[str, str]:
    """Return a board's word for a rating ▶ its letter in `post_filter.RATINGS`, for a table with some ratings."""
    is_danbooru = "g" in ratings or "general" in ratings or "is_banned" in columns
    # Tags by category, and nothing but s: e621's have species.
    is_danbooru |= not TAG_COLUMNS.keys().isdisjoint(columns) and "tag_string_species" not in columns
    letters = LETTERS | ({"s": "n"} if is_danbooru else {})
    if ratings & {"g", "general"} and "safe" in ratings:
        say("rating:safe of some rows counts as rating:general, which others have: both are the mildest")
        letters["safe"] = "g"
    return letters


def _tag_columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return the name of each column of tags in small letters ▶ the column."""
    found = {name.lower(): name for name in batch.schema.names}
    names = [name for name in (*SYNONYMS["tag_string"], *TAG_COLUMNS) if name in found]
    return {name: _checked(found[name], batch.column(found[name]), may_be_list=True) for name in names}


def _union(columns: list[pa.Array], length: int) -> pa.Array:
    """Return the tags of several columns, each once, separated by spaces; null where one could not be read."""
    if not columns:  # of these rows; others of the table have some
        return pa.array([""] * length, pa.string())
    if all(column.equals(columns[0]) for column in columns):
        return columns[0]
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return pa.array(
        [None if None in cells else " ".join(dict.fromkeys(" ".join(cells).split())) for cells in rows], pa.string()
    )


def _learn(rules: TagRules, texts: pa.Array, category: str) -> None:
    for name in pc.unique(pc.list_flatten(pc.utf8_split_whitespace(texts))).to_pylist():
        if name:
            rules.set_category(name, CATEGORIES[category])


def _column(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    """Return the column that has the name of an export's column, or one of its other names."""
    found = {name.lower(): name for name in batch.schema.names}
    return next((_checked(found[other], batch.column(found[other])) for other in SYNONYMS[name] if other in found), None)


def _checked(name: str, column: pa.Array, may_be_list: bool = False) -> pa.Array:
    """Return a column. Raises ValueError: it holds objects, or lists where one value is expected."""
    kind = column.type
    if may_be_list and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        kind = kind.value_type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        expected = "text, or lists of text" if may_be_list else "text or numbers"
        raise ValueError(f"expected {expected} in the column {name}. Received: {str(column.type)[:60]}; write it anew")
    return column
