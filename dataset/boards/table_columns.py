"""The columns of a board's table, by the names that they have on boards, and what they tell about the board."""

import json
from pathlib import Path

import pyarrow as pa

from common.errors import InputError, say
from dataset.boards.post_json import CATEGORY_OF
from dataset.boards.table_values import LETTERS

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
    "status": ("status",),
    "hidden_from_users": ("hidden_from_users",),
    "flags": ("flags",),
}
TAG_COLUMNS = {f"tag_string_{name}": category for name, category in CATEGORY_OF.items()}
# What tells Danbooru's table, whose letter `s` is sensitive, from those of e621 and moebooru, where it is safe.
DANBOORU = frozenset(("is_banned", "large_file_url", "has_large", "pixiv_id", "media_asset", "bit_flags", "last_noted_at"))
DANBOORU |= {f"tag_count_{name}" for name in ("general", "artist", "character", "copyright", "meta")}
OTHERS = frozenset(("locked_tags", "change_seq", "tag_string_species", "comment_count", "jpeg_url", "is_shown_in_index"))
# What is needed before the rows are read: whose board it is, and where the last row of a post is.
SURVEYED = frozenset(("rating", "is_banned", *SYNONYMS["id"], *SYNONYMS["md5"]))
WANTED = frozenset(name for names in SYNONYMS.values() for name in names) | TAG_COLUMNS.keys()
TAGS = frozenset((*TAG_COLUMNS, *SYNONYMS["tag_string"], *SYNONYMS["id"], *SYNONYMS["md5"]))  # and what tells their posts
UNCLEAR = "a"  # the letter in `post_filter.RATINGS` for safe on some boards, and sensitive on others


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


def letters_of(ratings: set[str], columns: set[str]) -> dict[str, str]:
    """Return a board's word for a rating ▶ its letter in `post_filter.RATINGS`, for a table with some ratings."""
    is_danbooru = "g" in ratings or "general" in ratings or not DANBOORU.isdisjoint(columns)
    # Tags by category, and nothing but s: e621's have species.
    is_danbooru |= not TAG_COLUMNS.keys().isdisjoint(columns) and "tag_string_species" not in columns
    letters = LETTERS | ({"s": "n"} if is_danbooru else {})
    if "s" in ratings and not is_danbooru and OTHERS.isdisjoint(columns) and "safe" not in ratings:
        say(
            "the rating s is read as safe, but not for posts with young characters, because on Danbooru it is sensitive and "
            "no column tells the board; write safe or sensitive instead"
        )
        letters["s"] = UNCLEAR
    if ratings & {"g", "general"} and "safe" in ratings:
        say("rating:safe of some rows counts as rating:general, which others have: both are the mildest")
        letters["safe"] = "g"
    return letters


def tag_columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return the name of each column of tags in small letters ▶ the column."""
    found = {name.lower(): name for name in batch.schema.names}
    names = [name for name in (*SYNONYMS["tag_string"], *TAG_COLUMNS) if name in found]
    return {name: _checked(found[name], batch.column(found[name]), may_be_list=True) for name in names}


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    """Return the column that has the name of an export's column, or one of its other names. Flags may be objects."""
    found = {name.lower(): name for name in batch.schema.names}
    given = next((found[other] for other in SYNONYMS[name] if other in found), None)
    if given is None:
        return None
    cells = batch.column(given)
    if name == "flags" and pa.types.is_nested(cells.type):
        return pa.array([None if each is None else json.dumps(each, default=str) for each in cells.to_pylist()], pa.string())
    return _checked(given, cells)


def _checked(name: str, column: pa.Array, may_be_list: bool = False) -> pa.Array:
    """Return a column. Raises ValueError: it holds objects, or lists where one value is expected."""
    kind = column.type
    if may_be_list and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        kind = kind.value_type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        expected = "text, or lists of text" if may_be_list else "text or numbers"
        raise ValueError(f"expected {expected} in the column {name}. Received: {str(column.type)[:60]}; write it anew")
    return column
