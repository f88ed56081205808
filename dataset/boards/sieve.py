"""Which rows of an export may be chosen, and what their tags stand for; whole columns at a time."""

from array import array
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
RATINGS = ("s", "q", "e")
STILL = ("jpg", "png", "gif", "webp")
FALSE = pa.scalar("f")
# Hidden by the site from people without an account unless their rating is s. No option keeps such posts.
RESTRICTED = "young"
READABLE = {
    "id": r"^\d{1,18}$",
    "created_at": r"^\d{4}-\d\d-\d\d",
    "md5": r"^[0-9a-f]{32}$",
    "image_width": r"^[1-9]\d{0,8}$",
    "image_height": r"^[1-9]\d{0,8}$",
    "file_size": r"^\d{1,18}$",
    "score": r"^-?\d{1,9}$",
}


@dataclass(frozen=True)
class Filters:
    """Which posts may be chosen; restricted posts never are, whatever stands here.

    Attributes:
        ratings: letters of `RATINGS`.
        exclude: tags that a post must not have, or stand for.
        min_score, min_tags: the least score of a post and number of its tags.
        after, before: the first day and the day after the last, as 2024-12-31, or empty.
    """

    ratings: list[str] = field(default_factory=lambda: ["s"])
    exclude: list[str] = field(default_factory=lambda: ["comic"])
    min_score: int | None = None
    min_tags: int = 0
    after: str = ""
    before: str = ""


@dataclass(frozen=True)
class Tagged:
    """Posts' tags as numbers: post `i` has `tags[offsets[i]:offsets[i + 1]]`, each once.

    Attributes:
        offsets: int64 (posts + 1,).
        tags: int32 (all posts' tags,).
    """

    offsets: np.ndarray
    tags: np.ndarray


def passing(rows: pa.RecordBatch, filters: Filters, skipped: Counter) -> pa.RecordBatch:
    """The rows that pass all filters but those of tags.

    Args:
        rows: with `COLUMNS`, as text.
        filters: what must be true of them.
        skipped: why rows are left out ▶ how many; added to.
    """
    rows = _kept(rows, pc.is_in(rows["rating"], pa.array(filters.ratings)), "another rating", skipped)
    public = pc.and_(pc.equal(rows["is_deleted"], FALSE), pc.equal(rows["is_pending"], FALSE))
    rows = _kept(rows, public, "deleted or pending", skipped)
    rows = _kept(rows, pc.is_in(rows["file_ext"], pa.array(STILL)), "video, Flash or another kind of file", skipped)
    for name, pattern in READABLE.items():
        rows = _kept(rows, pc.match_substring_regex(rows[name], pattern), "rows that cannot be read", skipped)
    # Times start with their day, so that they compare with days as text.
    if filters.after:
        rows = _kept(rows, pc.greater_equal(rows["created_at"], filters.after), "outside the dates", skipped)
    if filters.before:
        rows = _kept(rows, pc.less(rows["created_at"], filters.before), "outside the dates", skipped)
    if filters.min_score is not None:
        scored = pc.greater_equal(pc.cast(rows["score"], pa.int64()), filters.min_score)
        rows = _kept(rows, scored, "a lower score", skipped)
    return rows


class TagSieve:
    """Reads the tags of posts, aliases resolved and implications added, and drops posts by them."""

    def __init__(self, rules: TagRules, filters: Filters):
        self._spellings = Spellings(rules, filters.exclude)
        self._min_tags = max(1, filters.min_tags)

    def passing(self, rows: pa.Table, skipped: Counter) -> tuple[pa.Table, Tagged]:
        """The rows whose tags pass, and these tags.

        Args:
            rows: with `COLUMNS`, in one chunk.
            skipped: why rows are left out ▶ how many; added to.
        """
        words, offsets = _words(rows["tag_string"].chunk(0))
        encoded = words.dictionary_encode()
        numbers = self._spellings.numbers(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]  # (words,)
        flags = self._spellings.flags[numbers]

        def having(flag: int) -> np.ndarray:
            """How many words of each post have a flag, which few have: (posts,)."""
            flagged = np.flatnonzero(flags & flag)
            return np.bincount(np.searchsorted(offsets, flagged, "right") - 1, minlength=len(rows))

        kept = np.ones(len(rows), bool)
        for reason, failing in (
            (f"tagged {RESTRICTED} with a rating other than s", having(IS_RESTRICTED) * _other_than_safe(rows) > 0),
            ("an excluded tag", having(IS_EXCLUDED) > 0),
            ("too few tags", np.diff(offsets) - having(IS_BLANK) < self._min_tags),
        ):
            _count(skipped, reason, int((kept & failing).sum()))
            kept &= ~failing
        of_kept = np.repeat(kept, np.diff(offsets))
        return rows.filter(pa.array(kept)), self._spellings.tagged(numbers[of_kept], np.diff(offsets)[kept])


IS_RESTRICTED, IS_EXCLUDED, IS_BLANK = 1, 2, 4


class Spellings:
    """Every way to write a tag that was met, numbered: what it stands for is worked out once.

    Args:
        rules: what the board says of its tags.
        exclude: tags that are flagged `IS_EXCLUDED`.
    """

    def __init__(self, rules: TagRules, exclude: list[str]):
        self._rules = rules
        self._excluded_names = frozenset(exclude)
        self._excluded = frozenset(rules.meaning(name)[0] for name in exclude)
        self._restricted = rules.meaning(RESTRICTED)[0]
        self._number: dict[str, int] = {}
        self._flags = bytearray()
        self._ends = array("q", [0])  # of each spelling's part of `_meanings`
        self._meanings = array("i")

    @property
    def flags(self) -> np.ndarray:
        """uint8 (spellings,)."""
        return np.array(self._flags)

    def numbers(self, spellings: list[str]) -> np.ndarray:
        """Numbers of spellings, which may end in a space: int64 (spellings,)."""
        known = self._number
        return np.array([known[name] if name in known else self._learn(name) for name in spellings], np.int64)

    def tagged(self, words: np.ndarray, counts: np.ndarray) -> Tagged:
        """What posts' words stand for.

        Args:
            words: numbers of spellings, one post after the other.
            counts: words of each post, (posts,).
        """
        ends, meanings = np.array(self._ends), np.array(self._meanings)
        sizes = (ends[1:] - ends[:-1])[words]
        firsts = ends[words] - (np.cumsum(sizes) - sizes)  # of a word's tags, less the number of tags before it
        tags = meanings[np.repeat(firsts, sizes) + np.arange(sizes.sum())]
        # Post and tag in one number: sorted, a post's tags stand together, and equal ones side by side.
        begins = np.append(0, np.cumsum(sizes))[np.append(0, np.cumsum(counts))]  # of each post's tags
        keys = np.repeat(np.arange(len(counts)) << 32, np.diff(begins))
        keys |= tags
        keys.sort()
        distinct = np.ones(len(keys), bool)
        np.not_equal(keys[1:], keys[:-1], out=distinct[1:])
        keys = keys[distinct]
        ends = np.searchsorted(keys, np.arange(len(counts) + 1) << 32)
        return Tagged(ends, keys.astype(np.int32))  # the low half

    def _learn(self, written: str) -> int:
        names = written.split()  # one, unless something else than a space stands between tags
        meaning = tuple(dict.fromkeys(tag for name in names for tag in self._rules.meaning(name)))
        # Before and after aliases: neither a renamed tag nor an alias that leads elsewhere lets a post through.
        restricted = RESTRICTED in names or self._restricted in meaning
        excluded = not self._excluded_names.isdisjoint(names) or not self._excluded.isdisjoint(meaning)
        self._flags.append(restricted * IS_RESTRICTED | excluded * IS_EXCLUDED | (not names) * IS_BLANK)
        self._meanings.extend(meaning)
        self._ends.append(len(self._meanings))
        number = self._number[written] = len(self._number)
        return number


def _words(strings: pa.StringArray) -> tuple[pa.StringArray, np.ndarray]:
    """Posts' words without copying them, with the space behind each, and where each post's begin.

    Args:
        strings: words with spaces between them, a string a post.

    Returns:
        The words of all posts, and int64 (posts + 1,).
    """
    _, offsets, data = strings.buffers()
    edges = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]  # (posts + 1,)
    text = np.frombuffer(data, np.uint8)[edges[0] : edges[-1]] if edges[-1] else np.zeros(0, np.uint8)
    begins = np.zeros(len(text) + 1, bool)
    begins[1:] = text == ord(" ")
    begins[edges - edges[0]] = True
    begins = np.flatnonzero(begins).astype(np.int32)  # (words + 1,)
    words = pa.StringArray.from_buffers(len(begins) - 1, pa.py_buffer(begins + edges[0]), data)
    return words, np.searchsorted(begins, edges - edges[0])


def _other_than_safe(rows: pa.Table) -> np.ndarray:
    return pc.not_equal(rows["rating"], "s").to_numpy()


def _kept(rows: pa.RecordBatch, keep: pa.BooleanArray, reason: str, skipped: Counter) -> pa.RecordBatch:
    dropped = len(rows) - keep.true_count
    _count(skipped, reason, dropped)
    return rows.filter(keep) if dropped else rows  # mostly nothing is dropped, and copying is what costs


def _count(skipped: Counter, reason: str, number: int) -> None:
    if number:
        skipped[reason] += number
