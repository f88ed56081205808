"""A board's posts as columns, compact enough to choose among millions of posts."""

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dataset.boards.board import Post

BLOCK_POSTS = 2**16
BLOCK_GROUPS = 2**14


@dataclass(frozen=True)
class Annotations:
    """The tags of every post, as numbers: post `i` has `tags[offsets[i]:offsets[i + 1]]`.

    Attributes:
        names: the tags, by number.
        offsets: int64 (posts + 1,).
        tags: int32 (total number of tags of all posts,).
    """

    names: list[str]
    offsets: np.ndarray
    tags: np.ndarray

    @classmethod
    def from_tags(cls, tags_by_post: Iterable[Iterable[str]]) -> "Annotations":
        """Number the tags of posts in one pass. No post may repeat a tag."""
        numbers: dict[str, int] = {}
        offsets, tags = array("q", [0]), array("i")
        for post_tags in tags_by_post:
            tags.extend(numbers.setdefault(tag, len(numbers)) for tag in post_tags)
            offsets.append(len(tags))
        return cls(list(numbers), np.array(offsets, np.int64), np.array(tags, np.int32))

    def counts(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Count the posts that have each tag.

        Args:
            mask: bool (posts,), the posts that count; None: all.

        Returns:
            int64 (names,).
        """
        total = np.zeros(len(self.names), np.int64)
        for first, end in self._blocks():
            tags = self.tags[self.offsets[first] : self.offsets[end]]
            if mask is not None:
                tags = tags[np.repeat(mask[first:end], np.diff(self.offsets[first : end + 1]))]
            total += np.bincount(tags, minlength=len(self.names))
        return total

    def group_counts(self, groups: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Count the groups that have each tag: several posts of one group count once.

        Args:
            groups: int (posts,), the number of each post's group.
            mask: bool (posts,), the posts that count.

        Returns:
            int64 (names,).
        """
        _, groups, sizes = np.unique(np.where(mask, groups, -1), return_inverse=True, return_counts=True)
        # Most groups consist of a single post, whose tags cannot repeat.
        single = mask & (sizes[groups] == 1)
        total = self.counts(single)
        several = np.flatnonzero(mask & ~single)
        several = several[np.argsort(groups[several], kind="stable")]
        begins = np.flatnonzero(np.diff(groups[several], prepend=-1))
        edges = [*begins[::BLOCK_GROUPS].tolist(), len(several)]
        for first, end in itertools.pairwise(edges):
            posts = several[first:end]
            tags = np.concatenate([self.tags[self.offsets[post] : self.offsets[post + 1]] for post in posts])
            keys = np.repeat(groups[posts], self.offsets[posts + 1] - self.offsets[posts]) * len(self.names) + tags
            total += np.bincount(np.unique(keys) % len(self.names), minlength=len(self.names))
        return total

    def restricted(self, chosen: Sequence[int]) -> "Annotations":
        """Return the same posts with only the chosen tags, renumbered in the order of `chosen`."""
        numbers = np.full(len(self.names), -1, np.int32)
        numbers[np.asarray(chosen, np.int64)] = np.arange(len(chosen), dtype=np.int32)
        parts, ends = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        for first, end in self._blocks():
            tags = numbers[self.tags[self.offsets[first] : self.offsets[end]]]
            is_chosen = tags >= 0
            parts.append(tags[is_chosen])
            before = np.concatenate(([0], np.cumsum(is_chosen)))
            ends.append(ends[-1][-1] + before[self.offsets[first + 1 : end + 1] - self.offsets[first]])
        return Annotations([self.names[tag] for tag in chosen], np.concatenate(ends), np.concatenate(parts))

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield first and end of blocks of posts. Temporary arrays of one block are small compared with `tags`."""
        num_posts = len(self.offsets) - 1
        for first in range(0, num_posts, BLOCK_POSTS):
            yield first, min(first + BLOCK_POSTS, num_posts)


@dataclass(frozen=True)
class Catalogue:
    """All eligible posts of a board, always in the same order.

    Attributes:
        ids: ids of the posts, text or numbers.
        groups: names of their groups, text or numbers.
        annotations: their tags.
        post: returns the post at a position.
        artists: int (posts,), number of each post's artist, negative if it has none; None if the board names no artists.
        months: int (posts,), month of each post, for example 202012; None if the board has no dates.
    """

    ids: Sequence
    groups: Sequence
    annotations: Annotations
    post: Callable[[int], Post]
    artists: np.ndarray | None = None
    months: np.ndarray | None = None


def make_catalogue(posts: Iterable[Post]) -> Catalogue:
    """Return the catalogue of a board whose posts all fit into memory."""
    posts = list(posts)
    annotations = Annotations.from_tags(dict.fromkeys(post.tags) for post in posts)
    return Catalogue([post.id for post in posts], [post.group for post in posts], annotations, posts.__getitem__)
