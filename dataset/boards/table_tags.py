"""The tags in the cells of a board's table. What separates them is decided once, from the rows that have a picture.

Boards separate tags by spaces and have underscores in them. Tables that were made otherwise have commas, line breaks,
semicolons or pipes between tags, or lists as Python or JSON print them.
"""

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import say, short
from dataset.tag_text import IN_WORDS, ZERO_WIDTH, as_list, is_emoticon, split, unescaped

ENOUGH_CELLS = 2**16  # from which the separator is decided
# Where one is in a tag, spaces are between tags.
UNDERSCORE = r"[\pL\pN)]_[\pL\pN(]"
# Looks like a list from its first and its last letter; only these are parsed one by one.
BRACKETS = r"(?s)^\s*[\[({'\"].*[\])}'\"]\s*$"
TORN_LIST = r"^\s*(\[\s*['\"{]|\{\s*['\"][^'\"]*['\"]\s*:)|['\"]\]\s*$"  # or an object, whose values would be lost
# Characters without width and entities of HTML, which are undone before anything else.
TO_CLEAN = "[\u200b-\u200d\u2060\ufeff]|&[#A-Za-z][0-9A-Za-z]*;"
CONTROL = r"[\x00-\x08\x0e-\x1b\x7f\x{80}-\x{84}\x{86}-\x{9f}]"  # characters that separate nothing
BARE = re.compile(r"[\[{]([^\s\[\]{}'\"]+)[\]}]")


@dataclass(frozen=True)
class Sign:
    """How cells look whose tags are separated by something else than spaces.

    Attributes:
        separator: regular expression of what stands between tags.
        after_a_tag: the same after a tag, where it is no part of a face such as `;)`, `:|` or `|_|`.
        sure: where it cannot be a part of a tag such as `steins;gate`.
    """

    separator: str
    after_a_tag: str
    sure: str


SIGNS = {
    "comma": Sign("[,，、،\r\n]", "[,，、،]", "[,，、،]"),
    "newline": Sign("[\r\n]", r"\S[ \t]*[\r\n]", r"\S[ \t]*[\r\n]"),
    "semicolon": Sign("[;；]", r"[\pL\pN)!?]([;；]|\s+[;；]\s)", r"[\pL\pN)][;；]\s"),
    "pipe": Sign(r"\|", r"[\pL\pN)!?](\||\s+\|\s)", r"\s\|\s"),
}


class TagCells:
    """Reads the cells with tags of a table.

    Args:
        separator: what separates tags, one of `tag_text.SEPARATORS`; empty: decided from `sample`.

    Attributes:
        is_decided: whether no more cells are needed.
    """

    def __init__(self, separator: str = ""):
        self.is_decided = bool(separator)
        self._is_asked = bool(separator)
        self._separator = separator or "space"
        self._seen = 0  # cells
        self._cells = 0  # of several tags
        self._votes = Counter[str]()
        self._examples: dict[str, str] = {}
        self._counts = Counter[str]()  # of cells read
        self._others: dict[str, str] = {}

    def sample(self, column: pa.Array) -> None:
        """Take the cells of some rows into account."""
        self._seen += len(column)
        self.is_decided = self._seen >= ENOUGH_CELLS
        if _is_list(column):
            return
        texts = _trimmed(column)
        texts = texts.filter(pc.invert(pc.or_(_are_lists(texts), pc.match_substring_regex(texts, TORN_LIST))))
        looks = {name: _looks(texts, name) for name in SIGNS}
        several = pc.match_substring_regex(texts, r"\s")
        for name, mask in looks.items():
            several = pc.or_(several, mask)
            self._votes[name] += mask.true_count
            _remember(self._examples, name, texts.filter(mask))
        _remember(self._examples, "space", texts.filter(pc.match_substring_regex(texts, r"\s")))
        self._cells += several.true_count

    def decide(self) -> None:
        """Decide what separates tags, and say so. Spaces do unless most cells look otherwise: a rare one is a tag."""
        if self._is_asked or not self._cells:
            return
        best = max(SIGNS, key=lambda name: self._votes[name])
        # Boards allow no comma or line break in a tag, but semicolons and pipes.
        is_most = self._votes[best] * 2 >= self._cells + (best in ("semicolon", "pipe"))
        self._separator = best if is_most else "space"
        if self._separator in self._examples:
            example = short(self._examples[self._separator])
            say(f"tags are {IN_WORDS[self._separator]}, as in {example}; --separator changes that")

    def read(self, column: pa.Array, ids: pa.Array | None = None) -> pa.Array:
        """Return tags in small letters, separated by spaces and with underscores in them, (rows,).

        Null: a list that is not complete, or something else that is no list of tags, such as control characters.

        Args:
            column: the cells.
            ids: ids of the posts as text, for messages; None: nothing is counted.

        Raises:
            Errors of pyarrow: the cells are neither text nor lists of text.
        """
        if _is_list(column):
            return _without_control(pc.utf8_lower(_joined(column)))
        texts = _trimmed(column)
        listed = _are_lists(texts)
        if ids is not None:
            self._count(texts, listed, ids)
        others = texts
        if self._separator in ("semicolon", "pipe", "list"):
            others = pa.array([_with_spaces(split(text, self._separator)) for text in texts.to_pylist()], pa.string())
        elif self._separator != "space":
            separator = SIGNS[self._separator].separator
            names = pc.replace_substring_regex(texts, rf"\s*{separator}\s*", "\n")
            others = pc.replace_substring_regex(pc.replace_substring_regex(names, r"[^\S\n]+", "_"), r"\n+", " ")
        if self._separator != "space":
            others = pc.if_else(self._is_spaced(texts), texts, others)
        others = pc.if_else(pc.match_substring_regex(texts, TORN_LIST), None, others)
        if listed.true_count:
            lists = [_with_spaces(_list_in(text) or []) for text in texts.filter(listed).to_pylist()]
            others = pc.replace_with_mask(others, listed, pa.array(lists, pa.string()))
        return _without_control(pc.utf8_lower(others))

    def report(self) -> None:
        """Print how many cells looked otherwise than what was decided."""
        total = self._counts["cells"]
        for name, example in self._others.items():
            if name == "list":
                say(f"tags are lists written as text in {self._counts[name]:,} of {total:,} cells, such as {example}")
            else:
                as_read = IN_WORDS["space" if name == "space" else self._separator]
                say(f"{self._counts[name]:,} of {total:,} cells look {IN_WORDS[name]}, such as {example}; read as {as_read}")

    def _count(self, texts: pa.Array, listed: pa.Array, ids: pa.Array) -> None:
        self._counts["cells"] += pc.not_equal(texts, "").true_count
        masks = {"list": listed}
        if not self._is_asked:
            for name in SIGNS:
                if name != self._separator and not (self._separator == "comma" and name == "newline"):
                    masks[name] = pc.and_(pc.invert(listed), _looks(texts, name, several=True))
        if self._separator != "space":
            masks["space"] = pc.and_(pc.invert(listed), self._is_spaced(texts))
        for name, mask in masks.items():
            if mask.true_count:
                self._counts[name] += mask.true_count
                row = pc.index(mask, True).as_py()
                self._others.setdefault(name, f"{short(texts[row].as_py())} of post {ids[row]}")

    def _is_spaced(self, texts: pa.Array) -> pa.Array:
        """Return which cells have no sign of the separator, but spaces and underscores as boards do, bool (rows,)."""
        is_spaced = pc.and_(pc.match_substring_regex(texts, r"\s"), pc.match_substring_regex(texts, UNDERSCORE))
        sign = SIGNS.get(self._separator)
        return pc.and_not(is_spaced, pc.match_substring_regex(texts, sign.after_a_tag)) if sign else is_spaced


def _looks(texts: pa.Array, name: str, several: bool = False) -> pa.Array:
    """Return which cells look as if something separated their tags, bool (rows,).

    A semicolon or pipe in a cell may be a part of a tag. It separates tags if spaces are rarer than twice as many, and no
    underscores show that spaces do.

    Args:
        texts: the cells.
        name: one of `SIGNS`.
        several: ask for at least two such signs, where one does not tell enough.
    """
    sign = SIGNS[name]
    is_sure = pc.match_substring_regex(texts, sign.sure)
    if sign.sure == sign.after_a_tag:
        return is_sure
    signs = pc.count_substring_regex(texts, sign.after_a_tag)
    if not pc.any(pc.greater(signs, 0)).as_py():  # most tables
        return is_sure
    spaces = pc.count_substring_regex(pc.replace_substring_regex(texts, rf"\s*{sign.separator}\s*", "-"), r"\s+")
    has_underscores = pc.match_substring_regex(texts, UNDERSCORE)
    is_between = pc.or_(pc.equal(spaces, 0), pc.and_(pc.greater(pc.multiply(signs, 2), spaces), pc.invert(has_underscores)))
    return pc.or_(is_sure, pc.and_(pc.greater(signs, int(several)), is_between))


def _trimmed(column: pa.Array) -> pa.Array:
    """Return cells as text, empty where there is none."""
    return _cleaned(pc.fill_null(pc.utf8_trim_whitespace(pc.cast(column, pa.string())), ""))


def _cleaned(texts: pa.Array) -> pa.Array:
    """Return texts without characters of no width, and with signs instead of HTML's entities. Few have any."""
    mask = pc.match_substring_regex(texts, TO_CLEAN)
    if not mask.true_count:
        return texts
    cleaned = [unescaped(ZERO_WIDTH.sub("", text)).strip() for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(cleaned, pa.string()))


def _without_control(texts: pa.Array) -> pa.Array:
    """Return texts, and null for those with control characters."""
    return pc.if_else(pc.match_substring_regex(texts, CONTROL), None, texts)


def _is_list(column: pa.Array) -> bool:
    return pa.types.is_list(column.type) or pa.types.is_large_list(column.type)


def _joined(column: pa.Array) -> pa.Array:
    """Return the lists of a column as text, with spaces between tags and underscores in them."""
    values = pc.replace_substring_regex(_trimmed(column.flatten()), r"\s+", "_")
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate(([0], np.cumsum(sizes))).astype(np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(offsets, values), " ")


def _are_lists(texts: pa.Array) -> pa.Array:
    """Return which cells are lists written as text, bool (rows,)."""
    mask = pc.match_substring_regex(texts, BRACKETS).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(mask)
    mask[rows] = [_list_in(text) is not None for text in texts.take(pa.array(rows)).to_pylist()]
    return pa.array(mask)


def _list_in(text: str) -> list[str] | None:
    """Return the tags of a list in the notation of Python, JSON, NumPy or PostgreSQL; None of any other text."""
    if (bare := BARE.fullmatch(text)) and not is_emoticon(text):
        return bare[1].split(",")
    given = text
    if given.startswith("{"):  # a set, or PostgreSQL's array; not a dictionary
        text = f"[{given[1:-1]}]"
    simple = text.replace("'", '"') if '"' not in text and "\\" not in text else text  # parsed ten times as fast
    for notation in (simple, text):
        try:
            found = json.loads(notation)
            break
        except (ValueError, RecursionError):
            found = None
    if found is None:
        is_array = given.startswith("{") and "," in given and not re.search(r"['\"]\s*:", given)
        return as_list(text) or (next(csv.reader([given[1:-1]])) if is_array else None)
    is_plain = isinstance(found, list) and all(each is None or isinstance(each, str | int | float) for each in found)
    return [str(each) for each in found if each is not None] if is_plain else None


def _with_spaces(tags: list[str]) -> str:
    return " ".join("_".join(tag.split()) for tag in tags if tag.strip())


def _remember(examples: dict[str, str], name: str, texts: pa.Array) -> None:
    if len(texts):
        examples.setdefault(name, texts[0].as_py())
