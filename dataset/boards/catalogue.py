"""A board's posts as columns, compact enough to choose among millions of posts."""

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dataset.boards.board import Post

BLOCK_POSTS = 2**16
BLOCK_GROUPS = 2**14
SORTED_AT_ONCE = 8  # posts; sorting a few at a time is five times faster than sorting the tags of a whole block


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
            sizes = self.offsets[posts + 1] - self.offsets[posts]
            before = np.append(0, np.cumsum(sizes))  # (posts + 1,), number of tags before each post
            tags = self.tags[np.repeat(self.offsets[posts] - before[:-1], sizes) + np.arange(before[-1])]
            group_begins = np.append(before[begins[(begins >= first) & (begins < end)] - first], before[-1])
            total += np.bincount(distinct_tags(tags, group_begins)[0], minlength=len(self.names))
        return total

    def restricted(self, chosen: Sequence[int]) -> "Annotations":
        """Return the same posts with only the chosen tags, renumbered in the order of `chosen`."""
        numbers = np.full(len(self.names), -1, np.int32)
        numbers[np.asarray(chosen, np.int64)] = np.arange(len(chosen), dtype=np.int32)
        offsets = np.append(0, np.cumsum(self.counts_by_post(numbers >= 0), dtype=np.int64))
        tags = np.empty(offsets[-1], np.int32)
        for first, end in self._blocks():
            block = numbers[self.tags[self.offsets[first] : self.offsets[end]]]
            tags[offsets[first] : offsets[end]] = block[block >= 0]
        return Annotations([self.names[tag] for tag in chosen], offsets, tags)

    def counts_by_post(self, mask: np.ndarray) -> np.ndarray:
        """Count the tags of each post, of those that a mask has.

        Args:
            mask: bool (names,), the tags that count.

        Returns:
            int32 (posts,).
        """
        counts = np.zeros(len(self.offsets) - 1, np.int32)
        for first, end in self._blocks():
            before = np.append(0, np.cumsum(mask[self.tags[self.offsets[first] : self.offsets[end]]]))
            counts[first:end] = np.diff(before[self.offsets[first : end + 1] - self.offsets[first]])
        return counts

    def posts_by_tag(self) -> tuple[np.ndarray, np.ndarray]:
        """List the posts that have each tag: those of tag `i` are `posts[begins[i]:begins[i + 1]]`, in ascending order.

        Returns:
            The posts, int32 (total number of tags of all posts,), and begins, int64 (names + 1,).
        """
        begins = np.append(0, np.cumsum(self.counts()))
        posts = np.empty(len(self.tags), np.int32)
        free = begins[:-1].copy()  # position of the next post of each tag
        for first, end in self._blocks():
            tags = self.tags[self.offsets[first] : self.offsets[end]]
            counts = np.bincount(tags, minlength=len(self.names))
            # With few tags, this is a type of 16 bits, for which NumPy has a fast stable sort.
            order = np.argsort(tags.astype(np.min_scalar_type(len(self.names))), kind="stable")
            positions = np.repeat(free - (np.cumsum(counts) - counts), counts) + np.arange(len(tags))
            posts[positions] = np.repeat(np.arange(first, end), np.diff(self.offsets[first : end + 1]))[order]
            free += counts
        return posts, begins

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield first and end of blocks of posts. Temporary arrays of one block are small compared with `tags`."""
        num_posts = len(self.offsets) - 1
        for first in range(0, num_posts, BLOCK_POSTS):
            yield first, min(first + BLOCK_POSTS, num_posts)


def distinct_tags(tags: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the tags of each post, and leave out repeated ones.

    Args:
        tags: int (total number of tags of all posts,), one post after the other.
        begins: int (posts + 1,), position of each post's first tag.

    Returns:
        The same for the distinct tags, int32 and int64.
    """
    # Post and tag in one number: after sorting, equal tags of a post are adjacent.
    keys = np.repeat(np.arange(len(begins) - 1) << 32, np.diff(begins))
    keys |= tags
    for first, end in itertools.pairwise([*begins[:-1:SORTED_AT_ONCE].tolist(), len(keys)]):
        keys[first:end].sort()
    is_first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    keys = keys[is_first]
    return keys.astype(np.int32), np.searchsorted(keys, np.arange(len(begins)) << 32)  # the low half is the tag


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
