"""The posts of an export that may be chosen, filtered while they are read and kept in few bytes each."""

import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dataset.boards import Post
from dataset.boards.catalogue import Catalogue
from dataset.boards.export import read_rows
from dataset.boards.tag_rules import TagRules
from dataset.sampling import Annotations

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
MD5 = re.compile(r"[0-9a-f]{32}")
# Hidden by the site from people without an account unless their rating is s. No option keeps such posts.
RESTRICTED = "young"


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


@dataclass
class PostTable:
    """Posts as columns; about 50 bytes a post and 4 for each of its tags.

    Attributes:
        names: the tags, by number.
        skipped: why rows are not here ▶ how many.
    """

    names: list[str]
    skipped: Counter = field(default_factory=Counter)
    ids: array = field(default_factory=lambda: array("q"))
    groups: array = field(default_factory=lambda: array("q"))
    md5s: bytearray = field(default_factory=bytearray)
    sizes: array = field(default_factory=lambda: array("I"))  # width, height, in pixels
    file_bytes: array = field(default_factory=lambda: array("Q"))
    kinds: bytearray = field(default_factory=bytearray)  # number of the rating × 16 + number of the file type
    offsets: array = field(default_factory=lambda: array("q", [0]))
    tags: array = field(default_factory=lambda: array("i"))

    def catalogue(self, files_url: str) -> Catalogue:
        """The posts in the order of the export; the arrays are shared, not copied.

        Args:
            files_url: where original files are, without a slash at its end.
        """
        tags = np.frombuffer(self.tags, np.int32) if self.tags else np.zeros(0, np.int32)
        annotations = Annotations(self.names, np.frombuffer(self.offsets, np.int64), tags)
        return Catalogue(self.ids, self.groups, annotations, lambda number: self._post(number, files_url))

    def _post(self, number: int, files_url: str) -> Post:
        md5 = self.md5s[16 * number : 16 * number + 16].hex()
        rating, extension = divmod(self.kinds[number], 16)
        tags = self.tags[self.offsets[number] : self.offsets[number + 1]]
        return Post(
            id=str(self.ids[number]),
            tags=tuple(self.names[tag] for tag in tags),
            group=str(self.groups[number]),
            rating=RATINGS[rating],
            md5=md5,
            source=f"{files_url}/{md5[:2]}/{md5[2:4]}/{md5}.{STILL[extension]}",
            width=self.sizes[2 * number],
            height=self.sizes[2 * number + 1],
            file_bytes=self.file_bytes[number],
        )


def read_posts(path: Path, rules: TagRules, filters: Filters) -> PostTable:
    """Read the posts of an export that pass the filters.

    Raises:
        InputError: the file is damaged.
    """
    from tqdm import tqdm

    table = PostTable(rules.names)
    sieve = Sieve(rules, filters)
    parents: dict[int, int] = {}
    for row in tqdm(read_rows(path, COLUMNS), unit=" posts", unit_scale=True, desc="posts", dynamic_ncols=True):
        post_id, parent = row[0], row[8]
        if parent.isdecimal() and post_id.isdecimal():  # of dropped posts too: siblings of a deleted parent are a group
            parents[int(post_id)] = int(parent)
        tags = sieve.tags_of(row)
        if isinstance(tags, str):
            table.skipped[tags] += 1
        else:
            _append(table, row, tags)
    roots: dict[int, int] = {}
    table.groups.extend(_root(post_id, parents, roots) for post_id in table.ids)
    return table


class Sieve:
    """Says of a row of posts, with `COLUMNS`, which tags it has or why it is dropped."""

    def __init__(self, rules: TagRules, filters: Filters):
        self._meaning, self._filters = rules.meanings.__getitem__, filters
        self._ratings = frozenset(filters.ratings)
        self._excluded_names = frozenset(filters.exclude)
        self._excluded = frozenset(rules.meanings[name][0] for name in filters.exclude)
        self._restricted = rules.meanings[RESTRICTED][0]

    def tags_of(self, row: tuple[str, ...]) -> set[int] | str:
        """Numbers of the tags that a row has, aliases resolved and implications added; or a reason to drop it."""
        post_id, created, md5, rating, width, height, tag_string, extension, _, size, deleted, pending, score = row
        filters = self._filters
        if rating not in self._ratings:
            return "another rating"
        if deleted != "f" or pending != "f":
            return "deleted or pending"
        if extension not in STILL:
            return "video, Flash or another kind of file"
        written = tag_string.split()
        # Before and after aliases: neither a renamed tag nor an alias that leads elsewhere lets a post through.
        restricted = rating != "s" and RESTRICTED in written
        if not restricted:
            tags: set[int] = set()
            tags.update(*map(self._meaning, written))
            restricted = rating != "s" and self._restricted in tags
        if restricted:
            return f"tagged {RESTRICTED} with a rating other than s"
        if not self._excluded.isdisjoint(tags) or not self._excluded_names.isdisjoint(written):
            return "an excluded tag"
        if len(written) < max(1, filters.min_tags):
            return "too few tags"
        if (filters.after and created[:10] < filters.after) or (filters.before and created[:10] >= filters.before):
            return "outside the dates"
        numbers = (post_id, width, height, size)
        if not MD5.fullmatch(md5) or not all(map(str.isdecimal, numbers)) or not score.lstrip("-").isdecimal():
            return "rows that cannot be read"
        if not 0 < int(width) < 2**31 or not 0 < int(height) < 2**31:
            return "rows that cannot be read"
        if filters.min_score is not None and int(score) < filters.min_score:
            return "a lower score"
        return tags


def _append(table: PostTable, row: tuple[str, ...], tags: set[int]) -> None:
    post_id, _, md5, rating, width, height, _, extension, _, size = row[:10]
    table.ids.append(int(post_id))
    table.md5s += bytes.fromhex(md5)
    table.sizes.extend((int(width), int(height)))
    table.file_bytes.append(int(size))
    table.kinds.append(RATINGS.index(rating) * 16 + STILL.index(extension))
    table.tags.extend(sorted(tags))
    table.offsets.append(len(table.tags))


def _root(post_id: int, parents: dict[int, int], roots: dict[int, int]) -> int:
    """The root of a post's chain of parents; of a chain in a circle, its lowest id."""
    path: dict[int, int] = {}
    at = post_id
    while at not in roots:
        if at in path:  # a circle
            members = list(path)[path[at] :]
            roots[at] = min(members)
            break
        path[at] = len(path)
        following = parents.get(at)
        if following is None:
            if len(path) == 1:
                return at  # most posts: not remembered
            roots[at] = at
            break
        at = following
    root = roots[at]
    roots.update(dict.fromkeys(path, root))
    return root
