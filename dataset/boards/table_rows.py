"""The rows of a board's table in the form of e621's export, which `post_filter` reads."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import say
from dataset.boards.post_filter import COLUMNS, VALID_PATTERNS
from dataset.boards.post_json import CATEGORY_OF
from dataset.boards.tag_rules import TagRules
from dataset.records import CATEGORIES

# Column of an export ▶ the names that it has in tables, the first that is there.
SYNONYMS = {
    "id": ("id", "post_id"),
    "created_at": ("created_at", "date"),
    "md5": ("md5", "file_md5"),
    "rating": ("rating",),
    "image_width": ("image_width", "width"),
    "image_height": ("image_height", "height"),
    "tag_string": ("tag_string", "tags"),
    "parent_id": ("parent_id",),
    "file_size": ("file_size", "size"),
    "is_deleted": ("is_deleted",),
    "is_pending": ("is_pending",),
    "is_banned": ("is_banned",),
    "score": ("score",),
}
TAG_COLUMNS = {f"tag_string_{name}": category for name, category in CATEGORY_OF.items()}
RATING = frozenset(("rating", "is_banned", *TAG_COLUMNS))  # what tells the board from others
WANTED = frozenset(name for names in SYNONYMS.values() for name in names) | TAG_COLUMNS.keys()
# What a cell that is missing or empty counts as: no date and no score pass no limit.
MISSING = {
    "created_at": "0000-00-00",
    "md5": "0" * 32,
    "image_width": "1",
    "image_height": "1",
    "file_size": "0",
    "score": "-999999999",
    "rating": "",
    "parent_id": "",
    "tag_string": "",
}
# A board's word for a rating ▶ its letter in `post_filter.RATINGS`.
LETTERS = {"general": "g", "g": "g", "sensitive": "n", "safe": "s", "s": "s", "questionable": "q", "q": "q"} | {
    "explicit": "e",
    "e": "e",
}
MD5_DIGITS = 32
FALSE = ("", "false", "f", "no", "n", "0", "0.0", "none", "null", "nan")  # any other word is taken for yes


class Rows:
    """Takes the rows that have a picture, and remembers which picture belongs to which post.

    Args:
        pictures: id or MD5 in the name of a picture, in small letters ▶ id of the picture.
        ratings: the different ratings of the table, in small letters. They tell which board's `s` it is.
        columns: names of the table's columns, in small letters.

    Attributes:
        picture_of_post: id of a post ▶ id of its picture.
        repeated: number of rows of a post that the table has already.
    """

    def __init__(self, pictures: dict[str, str], ratings: set[str], columns: set[str]):
        self.picture_of_post: dict[int, str] = {}
        self.repeated = 0
        self._taken: set[str] = set()  # ids of pictures
        self._pictures = pictures
        self._keys = pa.array(list(pictures), pa.string())
        self._has_md5s = any(len(key) == MD5_DIGITS for key in pictures)
        self._links: list[tuple[np.ndarray, np.ndarray]] = []
        self._letters = _letters(ratings, columns)

    def usable(self, batch: pa.RecordBatch, rules: TagRules) -> pa.RecordBatch:
        """Return the rows that have a picture, with the columns of an export.

        Args:
            batch: rows of the table.
            rules: learns the categories of tags.

        Raises:
            ValueError: a column is missing. Errors of pyarrow: one is of a kind that cannot be read.
        """
        texts = {name: _filled(_text(_column(batch, name)), name, len(batch)) for name in ("id", "md5", "parent_id")}
        self._remember_links(texts)
        batch = batch.filter(self._with_picture(texts))  # before anything else is copied: few rows have a picture
        columns, by_category = _columns(batch)
        for category, column in by_category.items():
            _learn(rules, column, category)
        texts = {name: _filled(_text(column), name, len(batch)) for name, column in columns.items()}
        others = [name for name in batch.schema.names if name.lower() in SYNONYMS["tag_string"]]
        further = [_filled(_text(batch.column(name)), "tag_string", len(batch)) for name in others]
        texts["tag_string"] = _union([texts["tag_string"], *further, *by_category.values()])
        return self._as_export(texts)

    def links(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of children and of their parents, of all rows: int64 (links,) each."""
        if not self._links:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        children, parents = zip(*self._links, strict=True)
        return np.concatenate(children), np.concatenate(parents)

    def pictures_without_row(self) -> list[str]:
        """Return the ids of pictures that no row had."""
        return sorted(set(self._pictures.values()) - set(self.picture_of_post.values()))

    def _with_picture(self, texts: dict[str, pa.Array]) -> pa.Array:
        """Return which rows have a picture that no earlier row had, bool (rows,)."""
        position = pc.index_in(texts["id"], self._keys)
        if self._has_md5s:
            position = pc.coalesce(position, pc.index_in(pc.utf8_lower(texts["md5"]), self._keys))
        taken = np.zeros(len(position), bool)
        rows = np.flatnonzero(pc.is_valid(position).to_numpy(zero_copy_only=False))
        names = self._keys.take(position.drop_null()).to_pylist()
        for row, key, post_id in zip(rows.tolist(), names, texts["id"].take(pa.array(rows)).to_pylist(), strict=True):
            if not post_id.isdecimal() or len(post_id) > 18:
                continue  # `pictures_without_row` has its picture
            if int(post_id) in self.picture_of_post or self._pictures[key] in self._taken:
                self.repeated += 1
                continue
            self._taken.add(self._pictures[key])
            self.picture_of_post[int(post_id)] = self._pictures[key]
            taken[row] = True
        return pa.array(taken)

    def _as_export(self, texts: dict[str, pa.Array]) -> pa.RecordBatch:
        """Return texts with the names, letters and kinds of an export."""
        words = pc.utf8_lower(texts["rating"])
        letters = self._letters
        rating = pc.fill_null(pa.array(list(letters.values())).take(pc.index_in(words, pa.array(list(letters)))), "u")
        is_set = {
            name: pc.invert(pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(texts[name])), pa.array(FALSE)))
            for name in ("is_deleted", "is_pending", "is_banned")
        }
        flags = {"is_deleted": pc.or_(is_set["is_deleted"], is_set["is_banned"]), "is_pending": is_set["is_pending"]}
        columns = texts | {name: pc.if_else(flag, "t", "f") for name, flag in flags.items()} | {"rating": rating}
        # Whether it is a picture says its own name, not the table's.
        columns["file_ext"] = pa.array(["jpg"] * len(rating), pa.string())
        return pa.RecordBatch.from_arrays([columns[name] for name in COLUMNS], names=list(COLUMNS))

    def _remember_links(self, texts: dict[str, pa.Array]) -> None:
        is_number = pc.and_(*(pc.match_substring_regex(texts[name], r"^[1-9]\d{0,17}$") for name in ("id", "parent_id")))
        pair = (pc.cast(texts[name].filter(is_number), pa.int64()).to_numpy() for name in ("id", "parent_id"))
        children, parents = pair
        if len(children):
            self._links.append((children, parents))


def ratings_in(batch: pa.RecordBatch) -> set[str]:
    """Return the different ratings of some rows, in small letters."""
    texts = _filled(_text(_column(batch, "rating")), "rating", len(batch))
    return set(pc.unique(pc.utf8_lower(texts)).to_pylist())


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


def learn_tags(batch: pa.RecordBatch, rules: TagRules) -> None:
    """Tell the rules the names and categories of all tags of some rows."""
    columns, by_category = _columns(batch)
    tags = _filled(_text(columns["tag_string"]), "tag_string", len(batch))
    for category, column in (*by_category.items(), ("general", tags)):
        _learn(rules, column, category)


def _columns(batch: pa.RecordBatch) -> tuple[dict[str, pa.Array | None], dict[str, pa.Array]]:
    """Return the columns that are used by their names in an export, and category ▶ texts of its tags."""
    columns = {name: _column(batch, name) for name in SYNONYMS}
    found = {name.lower(): batch.column(name) for name in batch.schema.names}
    by_category = {
        category: _filled(_text(found[name]), name, len(batch)) for name, category in TAG_COLUMNS.items() if name in found
    }
    if columns["tag_string"] is None and by_category:
        columns["tag_string"] = pc.binary_join_element_wise(*by_category.values(), " ")
    if missing := [name for name in ("id", "tag_string") if columns[name] is None]:
        names = " and ".join(" or ".join(SYNONYMS[name]) for name in missing)
        received = ", ".join(batch.schema.names)[:200]
        raise ValueError(
            f"expected the columns {names}, separated by commas, semicolons, tabs or pipes. Received: {received}"
        )
    return columns, by_category


def _union(columns: list[pa.Array]) -> pa.Array:
    """Return the tags of several columns, each once, separated by spaces."""
    if all(column.equals(columns[0]) for column in columns):
        return columns[0]
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return pa.array([" ".join(dict.fromkeys(" ".join(cells).split())) for cells in rows], pa.string())


def _learn(rules: TagRules, texts: pa.Array, category: str) -> None:
    for name in pc.unique(pc.list_flatten(pc.utf8_split_whitespace(texts))).to_pylist():
        if name:
            rules.set_category(name, CATEGORIES[category])


def _column(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    """Return the column that has the name of an export's column, or one of its other names."""
    found = {name.lower(): name for name in batch.schema.names}
    return next((batch.column(found[other]) for other in SYNONYMS[name] if other in found), None)


def _text(column: pa.Array | None) -> pa.Array | None:
    """Return a column as text; lists are joined by spaces, and spaces inside a tag become underscores."""
    if column is None or pa.types.is_string(column.type):
        return column
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        values = pc.fill_null(pc.replace_substring(pc.cast(column.flatten(), pa.string()), " ", "_"), "")
        sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate(([0], np.cumsum(sizes))).astype(np.int32))
        return pc.binary_join(pa.ListArray.from_arrays(offsets, values), " ")
    if pa.types.is_floating(column.type):  # whole numbers with gaps, as pandas writes them
        column = pc.cast(column, pa.int64(), safe=False)
    return pc.cast(column, pa.string())


def _filled(column: pa.Array | None, name: str, length: int) -> pa.Array:
    """Return a column without gaps."""
    missing = MISSING.get(name, "")
    if column is None:
        return pa.array([missing] * length, pa.string())
    column = pc.if_else(pc.or_kleene(pc.is_null(column), pc.equal(column, "")), missing, column)
    if name == "score":
        column = pc.replace_substring_regex(column, r"\.\d*$", "")
    if name in TAG_COLUMNS or name == "tag_string":
        column = _separated_by_spaces(pc.utf8_lower(column))
    if name in VALID_PATTERNS and name != "id":
        column = pc.if_else(pc.match_substring_regex(column, VALID_PATTERNS[name]), column, missing)
    return column


def _separated_by_spaces(tags: pa.Array) -> pa.Array:
    """Return tags that are separated by commas with spaces between them, and underscores in them."""
    has_commas = pc.match_substring(tags, ",")
    if not pc.any(has_commas).as_py():
        return tags
    names = pc.replace_substring_regex(tags, r"\s*,\s*", ",")
    return pc.if_else(has_commas, pc.replace_substring(pc.replace_substring(names, " ", "_"), ",", " "), tags)
