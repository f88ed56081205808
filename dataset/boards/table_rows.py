"""The rows of a board's table in the form of e621's export, which `post_filter` reads."""

import functools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import say
from dataset.boards.post_filter import COLUMNS, RATINGS
from dataset.boards.post_json import HIDDEN_STATUSES
from dataset.boards.table_columns import SYNONYMS, TAG_COLUMNS, column_of, letters_of, tag_columns
from dataset.boards.table_tags import TagCells
from dataset.boards.table_values import (
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

HIDING = ("is_deleted", "is_pending", "is_banned", "hidden_from_users")  # columns
HIDING_WORD = rf"\b({'|'.join(HIDDEN_STATUSES)})\b"
# A flag that is not set, in JSON or as Python prints it.
NOT_SET = r"""['"]?\w+['"]?\s*[:=]\s*['"]?\b(false|f|no|n|0|0\.0|null|none)\b['"]?"""
# What is missing counts as this: no date and no score pass no limit, and the size is that of the picture itself.
MISSING = {"created_at": "0000-00-00", "score": "-999999999", "image_width": "1", "image_height": "1", "file_size": "0"}
MISSING |= {"md5": "0" * 32, "file_ext": "jpg"}
MD5_DIGITS = 32
NO = ("false", "f", "no", "n", "0", "0.0", *NO_VALUE)  # any other word is taken for yes


class Rows:
    """Takes the last row of each post that has a picture, and remembers which picture belongs to which post.

    All rows of the table are shown to `survey` first.

    Args:
        pictures: id or MD5 in the name of a picture, in small letters ▶ id of the picture.
        tags: reads the cells with tags.

    Attributes:
        picture_of_post: id of a post ▶ id of its picture.
        ratings: how many rows with a picture have each of `records.RATINGS`; empty: none that is known.
        repeated: number of rows of a post that has a later one.
        rejected: (id of a picture, reason) of those whose row cannot be used.
    """

    def __init__(self, pictures: dict[str, str], tags: TagCells):
        self.picture_of_post: dict[int, str] = {}
        self.ratings = Counter[str]()
        self.repeated = 0
        self.rejected: list[tuple[str, str]] = []
        self._example = ""  # of a row that repeats a post
        self._pictures = pictures
        self._keys = pa.array(list(pictures), pa.string())
        self._has_md5s = any(len(key) == MD5_DIGITS for key in pictures)
        self._last_of_picture: dict[str, int] = {}  # number of its last row, of a picture and of a post
        self._last_of_post: dict[str, int] = {}
        self._surveyed = self._read = 0  # rows
        self._links: list[tuple[np.ndarray, np.ndarray]] = []
        self._words: set[str] = set()  # ratings of the table
        self._letters: dict[str, str] = {}
        self._tags = tags
        self._unreadable = Unreadable()

    def survey(self, batch: pa.RecordBatch) -> None:
        """Learn which ratings some rows have, and which rows are the last of a post."""
        rating = column_of(batch, "rating")
        if rating is not None:
            self._words.update(read_words(pc.unique(text_of(rating, len(batch))).drop_null()).to_pylist())
        ids = read_ids(column_of(batch, "id"), len(batch))
        for row, key, post_id in self._matches(ids, self._positions(batch, ids)):
            self._last_of_picture[key] = self._last_of_post[post_id] = self._surveyed + row
        self._surveyed += len(batch)

    def decide(self, columns: set[str]) -> None:
        """Decide which board's ratings these are, from the names of the table's columns, in small letters."""
        self._letters = letters_of(self._words, columns)

    def sample(self, batch: pa.RecordBatch) -> None:
        """Show the tags of rows that have a picture to the reader of tags."""
        rows = batch.filter(pc.is_valid(self._positions(batch, read_ids(column_of(batch, "id"), len(batch)))))
        columns = tag_columns(rows)
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
        given = column_of(batch, "id")
        ids = read_ids(given, len(batch))
        if ids.null_count:
            self._unreadable.add("id", pc.is_null(ids), text_of(given, len(batch)))
        parents = read_ids(column_of(batch, "parent_id"), len(batch))
        self._remember_links(ids, parents)
        chosen = self._with_picture(ids, self._positions(batch, ids))
        self._read += len(batch)
        batch, ids, parents = (each.filter(chosen) for each in (batch, ids, parents))  # few rows have a picture
        texts = {name: text_of(column_of(batch, name), len(batch)) for name in SYNONYMS if name not in ("id", "tag_string")}
        self._unreadable.count("parent_id", texts["parent_id"], parents, ids)
        texts |= {"id": ids, "parent_id": parents} | self._values(texts, ids)
        tags = {name: self._tags.read(cells, ids) for name, cells in tag_columns(batch).items()}
        for name, category in TAG_COLUMNS.items():
            if name in tags:
                _learn(rules, tags[name], category)
        columns = {name: pa.array([value] * len(batch), pa.string()) for name, value in MISSING.items()}
        columns |= {name: pc.fill_null(column, MISSING.get(name, "")) for name, column in texts.items()}
        self.ratings.update(RATINGS[letter] for letter in columns["rating"].to_pylist())
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
            say(f"{self.repeated:,} rows are of a post that has a later row, such as {self._example}: the last counts")

    def _positions(self, batch: pa.RecordBatch, ids: pa.Array) -> pa.Array:
        """Return the position of each row's picture among those that are known, null where there is none, int32 (rows,)."""
        position = pc.index_in(ids, self._keys, skip_nulls=True)
        if self._has_md5s:
            md5s = pc.utf8_lower(text_of(column_of(batch, "md5"), len(batch)))
            position = pc.coalesce(position, pc.index_in(md5s, self._keys, skip_nulls=True))
        return position

    def _matches(self, ids: pa.Array, position: pa.Array) -> Iterator[tuple[int, str, str]]:
        """Yield the row, the key of the picture and the id of the post, of rows that have a picture."""
        rows = np.flatnonzero(pc.is_valid(pc.if_else(pc.is_valid(ids), position, None)).to_numpy(zero_copy_only=False))
        chosen = pa.array(rows)
        names = self._keys.take(position.take(chosen)).to_pylist()
        yield from zip(rows.tolist(), names, ids.take(chosen).to_pylist(), strict=True)

    def _with_picture(self, ids: pa.Array, position: pa.Array) -> pa.Array:
        """Return which rows have a picture and are the last of their post, bool (rows,)."""
        taken = np.zeros(len(position), bool)
        for row, key, post_id in self._matches(ids, position):
            if self._read + row != max(self._last_of_picture[key], self._last_of_post[post_id]):
                self.repeated += 1
                self._example = self._example or f"post {post_id} with {self._pictures[key]}"
                continue
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
        texts = texts | {name: pc.utf8_lower(texts[name]) for name in (*HIDING, "status", "flags")}
        hides = [pc.invert(pc.or_kleene(is_missing(texts[name]), pc.is_in(texts[name], pa.array(NO)))) for name in HIDING]
        hides.append(pc.is_in(texts["status"], pa.array(HIDDEN_STATUSES)))
        flags = pc.replace_substring_regex(texts["flags"], NOT_SET, "")
        hides.append(pc.fill_null(pc.match_substring_regex(flags, HIDING_WORD), False))
        is_hidden = functools.reduce(pc.or_, hides)
        return read | {"is_deleted": pc.if_else(is_hidden, "t", "f"), "is_pending": pa.array(["f"] * len(ids), pa.string())}

    def _without_damaged(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows whose tags can be read, and reject the others."""
        is_damaged = pc.is_null(rows["tag_string"])
        reason = (
            "its tags are a list that is not complete, an object, or have control characters: expected a list or tags with "
            "spaces between them"
        )
        self.rejected += [(self.picture_of_post[int(each)], reason) for each in rows["id"].filter(is_damaged).to_pylist()]
        return rows.filter(pc.invert(is_damaged)) if is_damaged.true_count else rows

    def _remember_links(self, ids: pa.Array, parents: pa.Array) -> None:
        if parents.null_count == len(parents):
            return
        is_link = pc.and_kleene(pc.and_(pc.is_valid(ids), pc.is_valid(parents)), pc.not_equal(parents, "0"))
        children, parents = (each.filter(is_link) for each in (ids, parents))
        if len(children):
            self._links.append((as_integers(children), as_integers(parents)))


def learn_tags(batch: pa.RecordBatch, rules: TagRules, tags: TagCells) -> None:
    """Tell the rules the names and categories of all tags of some rows."""
    columns = tag_columns(batch)
    for name in sorted(columns, key=lambda name: name not in TAG_COLUMNS):  # the first category that is told counts
        _learn(rules, tags.read(columns[name]), TAG_COLUMNS.get(name, "general"))


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
