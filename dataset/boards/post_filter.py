"""Filter the rows of an export and expand their tags, whole columns at a time."""

import itertools
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.boards.catalogue import distinct_tags
from dataset.boards.filters import (
    EXCLUDED,
    HIDDEN,
    LOWER_SCORE,
    NO_PICTURE,
    NOT_PUBLIC,
    OTHER_RATING,
    OUTSIDE_DATES,
    TOO_FEW_TAGS,
    UNREADABLE,
    Filters,
)
from dataset.boards.tag_rules import TagRules

COLUMNS = (
    "id",
    "created_at",
    "md5",
    "rating",
    "image_width",
    "image_height",
    "tag_string",
    "file_ext",
    "parent_id",
    "file_size",
    "is_deleted",
    "is_pending",
    "score",
)
# The last four are those of tables of other boards; the last one is safe there if the table is not Danbooru's.
RATINGS = {"s": "safe", "q": "questionable", "e": "explicit", "g": "general", "n": "sensitive", "u": "", "a": "safe"}
FILE_TYPES = ("jpg", "png", "gif", "webp")
FALSE = pa.scalar("f")
# The site hides posts with this tag and a rating other than s from visitors without an account. No option selects them.
RESTRICTED = "young"
VALID_PATTERNS = {
    "id": r"^\d{1,18}$",
    "created_at": r"^\d{4}-\d\d-\d\d",
    "md5": r"^[0-9a-f]{32}$",
    "image_width": r"^[1-9]\d{0,8}$",
    "image_height": r"^[1-9]\d{0,8}$",
    "file_size": r"^\d{1,18}$",
    "score": r"^-?\d{1,9}$",
}


@dataclass(frozen=True)
class PostTags:
    """The tags of posts as numbers: post `i` has `tags[offsets[i]:offsets[i + 1]]`, without repetition.

    Attributes:
        tags: int32 (total number of tags of all posts,).
        offsets: int64 (posts + 1,).
    """

    tags: np.ndarray
    offsets: np.ndarray


def filter_rows(rows: pa.RecordBatch, filters: Filters, skipped: Counter) -> pa.RecordBatch:
    """Return the rows that pass all filters except those that concern tags.

    Args:
        rows: the columns `COLUMNS`, as text.
        filters: the filters.
        skipped: reason ▶ number of rows left out; updated.
    """
    is_of_rating = pc.is_in(rows["rating"], pa.array(filters.ratings))
    is_public = pc.and_(pc.equal(rows["is_deleted"], FALSE), pc.equal(rows["is_pending"], FALSE))
    is_picture = pc.is_in(rows["file_ext"], pa.array(FILE_TYPES))
    # Most rows fail one of these: with one mask for all three, the others are copied once.
    public = pc.and_(is_of_rating, is_public)
    passed = pc.and_(public, is_picture)
    _count(skipped, OTHER_RATING, len(rows) - is_of_rating.true_count)
    _count(skipped, NOT_PUBLIC, is_of_rating.true_count - public.true_count)
    _count(skipped, NO_PICTURE, public.true_count - passed.true_count)
    rows = rows.filter(passed)
    for name, pattern in VALID_PATTERNS.items():
        rows = _keep(rows, pc.match_substring_regex(rows[name], pattern), UNREADABLE, skipped)
    # A time starts with its day, so that times and days compare as text.
    if filters.after:
        rows = _keep(rows, pc.greater_equal(rows["created_at"], filters.after), OUTSIDE_DATES, skipped)
    if filters.before:
        rows = _keep(rows, pc.less(rows["created_at"], filters.before), OUTSIDE_DATES, skipped)
    if filters.min_score is not None:
        scored = pc.greater_equal(pc.cast(rows["score"], pa.int64()), filters.min_score)
        rows = _keep(rows, scored, LOWER_SCORE, skipped)
    return rows


class TagFilter:
    """Expands the tags of posts by aliases and implications, and filters the posts by their tags.

    Args:
        rules: the board's aliases and implications.
        filters: the user's filters.
        is_restricted: whether no post with a rating other than safe may have a tag.
    """

    def __init__(self, rules: TagRules, filters: Filters, is_restricted: Callable[[str], bool]):
        excluded = filters.names_to_exclude().among(rules.known_names(), "--exclude")
        self._spellings = Spellings(rules, sorted(excluded.union(filters.exclude)), is_restricted)
        self._min_tags = max(1, filters.min_tags)

    def filter_rows(self, rows: pa.Table, skipped: Counter) -> tuple[pa.Table, PostTags]:
        """Return the rows whose tags pass the filters, and their tags.

        Args:
            rows: the columns `COLUMNS`, in one chunk.
            skipped: reason ▶ number of rows left out; updated.
        """
        words, offsets = _words(rows["tag_string"].chunk(0))
        numbers = self._spellings.numbers(words)
        flags = self._spellings.flags[numbers]

        def count_words(flag: int) -> np.ndarray:
            """Count the words of each post that have a flag, (posts,). Few words have one."""
            flagged = np.flatnonzero(flags & flag)
            return np.bincount(np.searchsorted(offsets, flagged, "right") - 1, minlength=len(rows))

        passed = np.ones(len(rows), bool)
        for reason, failing in (
            (HIDDEN, count_words(IS_RESTRICTED) * _is_not_safe(rows) > 0),
            (EXCLUDED, count_words(IS_EXCLUDED) > 0),
            (TOO_FEW_TAGS, np.diff(offsets) - count_words(IS_BLANK) < self._min_tags),
        ):
            _count(skipped, reason, int((passed & failing).sum()))
            passed &= ~failing
        word_passed = np.repeat(passed, np.diff(offsets))  # (words,)
        return rows.filter(pa.array(passed)), self._spellings.expand(numbers[word_passed], np.diff(offsets)[passed])


IS_RESTRICTED, IS_EXCLUDED, IS_BLANK = 1, 2, 4


class Spellings:
    """Numbers every distinct spelling of a tag and caches its expansion.

    Args:
        rules: the board's aliases and implications.
        exclude: tags that get the flag `IS_EXCLUDED`.
        is_restricted: whether a tag gets the flag `IS_RESTRICTED`.
    """

    def __init__(self, rules: TagRules, exclude: list[str], is_restricted: Callable[[str], bool]):
        self._rules = rules
        self._excluded_names = frozenset(exclude)
        self._excluded = frozenset(rules.expand(name)[0] for name in exclude)
        self._is_restricted = is_restricted
        self._restricted = rules.expand(RESTRICTED)[0]
        self._known = pa.array([], pa.string())  # the spellings, by number
        self._flags = bytearray()
        self._ends = array("i", [0])  # spelling `i` expands to _expansions[_ends[i]:_ends[i + 1]]
        self._expansions = array("i")

    @property
    def flags(self) -> np.ndarray:
        """The flags `IS_…` of each spelling, uint8 (spellings,)."""
        return np.array(self._flags)

    def numbers(self, words: pa.StringArray) -> np.ndarray:
        """Return the numbers of words, which may end in a space: int32 (words,)."""
        # The known spellings come first in the common dictionary and keep their numbers.
        none = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), self._known)
        encoded = pa.chunked_array([none, words.dictionary_encode()]).unify_dictionaries().chunk(1)
        for spelling in encoded.dictionary[len(self._known) :].to_pylist():
            self._add(spelling)
        self._known = encoded.dictionary
        return encoded.indices.to_numpy()

    def expand(self, words: np.ndarray, counts: np.ndarray) -> PostTags:
        """Return the tags that the words of posts stand for.

        Args:
            words: int (words,), numbers of spellings, one post after the other.
            counts: int (posts,), number of words of each post.
        """
        ends, expansions = np.array(self._ends), np.array(self._expansions)
        sizes = (ends[1:] - ends[:-1])[words]
        before = np.append(0, np.cumsum(sizes))  # (words + 1,), number of tags before each word
        tags = expansions[np.repeat(ends[words] - before[:-1], sizes) + np.arange(before[-1])]
        return PostTags(*distinct_tags(tags, before[np.append(0, np.cumsum(counts))]))

    def _add(self, spelling: str) -> None:
        names = spelling.split()  # one, unless white space other than a space separates tags
        expansion = tuple(dict.fromkeys(itertools.chain.from_iterable(map(self._rules.expand, names))))
        # Checked before and after aliases: neither a renamed tag nor a misleading alias lets a post through.
        expanded = {*names, *map(self._rules.names.__getitem__, expansion)}
        restricted = any(map(self._is_restricted, expanded)) or self._restricted in expansion
        excluded = not self._excluded_names.isdisjoint(names) or not self._excluded.isdisjoint(expansion)
        self._flags.append(restricted * IS_RESTRICTED | excluded * IS_EXCLUDED | (not names) * IS_BLANK)
        self._expansions.extend(expansion)
        self._ends.append(len(self._expansions))


def _words(strings: pa.StringArray) -> tuple[pa.StringArray, np.ndarray]:
    """Split posts' strings into words, each with its trailing space, without copying.

    Args:
        strings: (posts,), the words of each post, separated by spaces.

    Returns:
        The words of all posts, (words,), and the position of each post's first word, int64 (posts + 1,).
    """
    _, offsets, data = strings.buffers()
    edges = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]  # (posts + 1,)
    text = np.frombuffer(data, np.uint8)[edges[0] : edges[-1]] if edges[-1] else np.zeros(0, np.uint8)
    is_begin = np.zeros(len(text) + 1, bool)
    is_begin[1:] = text == ord(" ")
    is_begin[edges - edges[0]] = True
    begins = np.flatnonzero(is_begin).astype(np.int32)  # (words + 1,)
    words = pa.StringArray.from_buffers(len(begins) - 1, pa.py_buffer(begins + edges[0]), data)
    return words, np.searchsorted(begins, edges - edges[0])


def _is_not_safe(rows: pa.Table) -> np.ndarray:
    return pc.invert(pc.is_in(rows["rating"], pa.array(["s", "g"]))).to_numpy()


def _keep(rows: pa.RecordBatch, mask: pa.BooleanArray, reason: str, skipped: Counter) -> pa.RecordBatch:
    dropped = len(rows) - mask.true_count
    _count(skipped, reason, dropped)
    return rows.filter(mask) if dropped else rows  # usually nothing is dropped, and copying would be slow


def _count(skipped: Counter, reason: str, number: int) -> None:
    if number:
        skipped[reason] += number
