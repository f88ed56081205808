"""Which tags, which posts, which split: pure functions of a board's annotations.

Annotations are two arrays, as in a sparse matrix: post `i` has the tags `tags[offsets[i]:offsets[i + 1]]`. Nothing here
depends on the order of the posts, so a board that lists them differently gives the same data set.
"""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Annotations:
    """Every post's tags, as numbers.

    Attributes:
        names: the tags, by number.
        offsets: int64 (posts + 1,).
        tags: int32 (all posts' tags,).
    """

    names: list[str]
    offsets: np.ndarray
    tags: np.ndarray

    @classmethod
    def of(cls, tags_by_post: Iterable[Iterable[str]]) -> "Annotations":
        """Number the tags of an iterable of posts, each of which names a tag once; one pass, compact."""
        numbers: dict[str, int] = {}
        offsets, tags = array("q", [0]), array("i")
        for post_tags in tags_by_post:
            tags.extend(numbers.setdefault(tag, len(numbers)) for tag in post_tags)
            offsets.append(len(tags))
        return cls(list(numbers), np.array(offsets, np.int64), np.array(tags, np.int32))

    def counts(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Positives a tag, int64 (names,), among all posts or those of a boolean mask (posts,)."""
        tags = self.tags if mask is None else self.tags[np.repeat(mask, np.diff(self.offsets))]
        return np.bincount(tags, minlength=len(self.names))

    def group_counts(self, groups: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Groups that have each tag, int64 (names,): several posts of a group count once.

        Args:
            groups: the number of each post's group, int (posts,).
            mask: the posts that count, bool (posts,).
        """
        kept = np.repeat(mask, np.diff(self.offsets))
        groups_of_tags = np.repeat(groups, np.diff(self.offsets))[kept]
        # Most groups are a single post, whose tags need no comparing.
        single = (np.bincount(groups[mask], minlength=groups.max(initial=0) + 1) == 1)[groups_of_tags]
        tags = self.tags[kept]
        pairs = np.unique(np.stack([tags[~single], groups_of_tags[~single]]), axis=1)
        return np.bincount(tags[single], minlength=len(self.names)) + np.bincount(pairs[0], minlength=len(self.names))

    def restricted(self, chosen: Sequence[int]) -> "Annotations":
        """The same posts with the chosen tags alone, numbered in the order given."""
        numbers = np.full(len(self.names), -1, np.int32)
        numbers[np.asarray(chosen, np.int64)] = np.arange(len(chosen), dtype=np.int32)
        tags = numbers[self.tags]
        kept = tags >= 0
        offsets = np.concatenate(([0], np.cumsum(kept)))[self.offsets]
        return Annotations([self.names[tag] for tag in chosen], offsets, tags[kept])


def vocabulary(names: Sequence[str], counts: np.ndarray, num_tags: int, min_positives: int = 1) -> list[int]:
    """Choose the most frequent tags.

    Args:
        names: the tags.
        counts: positives a tag, (names,); 0 for a tag of a category that is not wanted.
        num_tags: how many tags to choose, at most.
        min_positives: the fewest positives of a chosen tag.

    Returns:
        Indices into `names`, the most frequent first, ties by name.
    """
    eligible = np.flatnonzero(counts >= max(1, min_positives)).tolist()
    return sorted(eligible, key=lambda tag: (-int(counts[tag]), names[tag]))[:num_tags]


def priorities(ids: Iterable[str], seed: int, purpose: str) -> np.ndarray:
    """A random number for each post that depends on its id, the seed and the purpose alone: uint64 (posts,)."""
    key = f"{seed} {purpose}".encode()
    digests = b"".join(hashlib.blake2b(post_id.encode(), digest_size=8, key=key).digest() for post_id in ids)
    return np.frombuffer(digests, "<u8")


def balanced_sample(annotations: Annotations, priority: np.ndarray, positives: int) -> np.ndarray:
    """Choose posts so that every tag has enough positives where the board has them, the rarest tags served first.

    Each tag in turn, from the rarest to the most frequent, is topped up with posts until it has `positives` of them or
    none are left; posts chosen for a rarer tag count. So a common tag gets no more than `positives` by itself, and
    keeps what came along with the rare ones.

    Args:
        annotations: the posts with the tags of the vocabulary; ties in frequency go by the tag's number.
        priority: (posts,), see `priorities`; of a tag's posts, the lowest are taken first.
        positives: wanted posts a tag.

    Returns:
        bool (posts,): the chosen posts.
    """
    num_posts = len(annotations.offsets) - 1
    order = np.argsort(priority, kind="stable")
    rank = np.empty(num_posts, np.int64)
    rank[order] = np.arange(num_posts)
    # Every tag's posts, by priority: pairs sorted by rank, then stably by tag. Small integers sort in linear time.
    tags = annotations.tags.astype(np.uint16 if len(annotations.names) <= 1 << 16 else np.uint32)
    ranks = np.repeat(rank, np.diff(annotations.offsets))
    by_rank = np.argsort(ranks, kind="stable")
    tags, ranks = tags[by_rank], ranks[by_rank]
    ranks = ranks[np.argsort(tags, kind="stable")]
    counts = annotations.counts()
    starts = np.concatenate(([0], np.cumsum(counts)))
    chosen = np.zeros(num_posts, bool)  # by rank
    for tag in np.argsort(counts, kind="stable"):
        candidates = ranks[starts[tag] : starts[tag + 1]]
        waiting = candidates[~chosen[candidates]]
        missing = positives - (len(candidates) - len(waiting))
        if missing > 0:
            chosen[waiting[:missing]] = True
    return chosen[rank]


def split_of(group: str, val: float = 5.0, test: float = 5.0) -> str:
    """The split of a group of posts, by a hash of its name: new posts never move old ones.

    Independent of the seed, so that the test posts of one data folder are never training posts of another.

    Args:
        group: the group's name.
        val: share of the groups in the validation split, in percent.
        test: share of the groups in the test split, in percent.

    Returns:
        `train`, `val` or `test`.
    """
    digest = hashlib.blake2b(group.encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "little") / 2**64 * 100
    if position < test:
        return "test"
    return "val" if position < test + val else "train"
