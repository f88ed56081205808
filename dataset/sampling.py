"""Which tags, which posts, which split: pure functions of a board's annotations.

Annotations are two arrays, as in a sparse matrix: post `i` has the tags `tags[offsets[i]:offsets[i + 1]]`. Nothing here
depends on the order of the posts, so a board that lists them differently gives the same data set.
"""

import hashlib
import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dataset.records import SPLITS

BLOCK_POSTS = 2**16
BLOCK_GROUPS = 2**14
TRAIN, VAL, TEST = map(SPLITS.index, ("train", "val", "test"))


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
        total = np.zeros(len(self.names), np.int64)
        for first, end in self._blocks():
            tags = self.tags[self.offsets[first] : self.offsets[end]]
            if mask is not None:
                tags = tags[np.repeat(mask[first:end], np.diff(self.offsets[first : end + 1]))]
            total += np.bincount(tags, minlength=len(self.names))
        return total

    def group_counts(self, groups: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Groups that have each tag, int64 (names,): several posts of a group count once.

        Args:
            groups: the number of each post's group, int (posts,).
            mask: the posts that count, bool (posts,).
        """
        _, groups, sizes = np.unique(np.where(mask, groups, -1), return_inverse=True, return_counts=True)
        # Most groups are a single post, whose tags need no comparing.
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
        """The same posts with the chosen tags alone, numbered in the order given."""
        numbers = np.full(len(self.names), -1, np.int32)
        numbers[np.asarray(chosen, np.int64)] = np.arange(len(chosen), dtype=np.int32)
        parts, ends = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        for first, end in self._blocks():
            tags = numbers[self.tags[self.offsets[first] : self.offsets[end]]]
            kept = tags >= 0
            parts.append(tags[kept])
            before = np.concatenate(([0], np.cumsum(kept)))
            ends.append(ends[-1][-1] + before[self.offsets[first + 1 : end + 1] - self.offsets[first]])
        return Annotations([self.names[tag] for tag in chosen], np.concatenate(ends), np.concatenate(parts))

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """First and end of runs of posts, so that what is computed of their tags stays small beside the tags."""
        num_posts = len(self.offsets) - 1
        for first in range(0, num_posts, BLOCK_POSTS):
            yield first, min(first + BLOCK_POSTS, num_posts)


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


def spread(priority: np.ndarray, labels: Iterable[np.ndarray]) -> np.ndarray:
    """The posts in an order in which no label dominates: each label's first post comes before any label's second.

    Args:
        priority: (posts,), the lowest first, where labels leave a choice.
        labels: of each post, negative where it has none, (posts,); the first kind matters most.

    Returns:
        Positions of posts, int64 (posts,).
    """
    order = np.argsort(priority, kind="stable")
    for of_posts in reversed(list(labels)):
        order = order[np.argsort(_turns(of_posts[order]), kind="stable")]
    return order


def _turns(labels: np.ndarray) -> np.ndarray:
    """How many earlier elements have the same label, (elements,); 0 where the label is negative."""
    by_label = np.argsort(labels, kind="stable")
    begins = np.flatnonzero(np.diff(labels[by_label], prepend=-2))
    sizes = np.diff(begins, append=len(labels))
    turns = np.empty(len(labels), np.int64)
    turns[by_label] = np.arange(len(labels)) - np.repeat(begins, sizes)
    return np.where(labels < 0, 0, turns)


def sample(
    annotations: Annotations,
    priority: np.ndarray,
    positives: int,
    sampling: str = "cover",
    posts: int = 0,
    labels: Iterable[np.ndarray] = (),
) -> np.ndarray:
    """Choose posts so that every tag has enough positives where the board has them.

    Args:
        annotations: the posts with the tags of the vocabulary; ties in frequency go by the tag's number.
        priority: (posts,), see `priorities`; of posts that serve alike, the lowest are taken first.
        positives: wanted posts a tag.
        sampling: one of `SAMPLINGS`.
        posts: the fewest posts in all, where so many have a tag; filled up at random.
        labels: what `cover` spreads posts over where they serve alike, see `spread`; the published rule does not.

    Returns:
        bool (posts,): the chosen posts.
    """
    order = spread(priority, labels if sampling == "cover" else ())
    chosen = SAMPLINGS[sampling](annotations, order, positives)
    missing = posts - int(chosen.sum())
    if missing > 0:
        tagged = np.diff(annotations.offsets) > 0
        chosen[order[(tagged & ~chosen)[order]][:missing]] = True
    return chosen


def cover_sample(annotations: Annotations, order: np.ndarray, positives: int) -> np.ndarray:
    """The greedy cover: next is always a post that has the most tags still wanted.

    The posts of tags that the board has too few of are taken first, as no cover can do without them. Last, posts that later
    ones made needless go again.

    Args:
        annotations: the posts.
        order: the posts in the order in which ties are broken.
        positives: wanted posts a tag.

    Returns:
        bool (posts,): the chosen posts.
    """
    offsets, tags = annotations.offsets, annotations.tags
    counts = annotations.counts()
    # Tag and post in one number: sorted, every tag's posts stand together.
    keys = tags.astype(np.int64)
    keys <<= 32
    keys |= np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
    keys.sort()
    post_of_tag = keys.astype(np.int32)  # the low half
    del keys
    starts = np.concatenate(([0], np.cumsum(counts)))
    chosen = np.zeros(len(offsets) - 1, bool)
    for tag in np.flatnonzero(counts <= positives):
        chosen[post_of_tag[starts[tag] : starts[tag + 1]]] = True
    missing = positives - annotations.counts(chosen)
    wanted_tags = np.zeros(len(tags) + 1, np.int32)
    np.cumsum((missing > 0)[tags], out=wanted_tags[1:])
    gains = wanted_tags[offsets[1:]] - wanted_tags[offsets[:-1]]  # tags still wanted, a post
    left, taken = missing.tolist(), []
    # A post's gain only ever falls, when a tag has enough: nobody joins a level while it is being worked off.
    for level in range(int(gains.max(initial=0)), 0, -1):
        for post in order[((gains == level) & ~chosen)[order]].tolist():
            if gains[post] == level:
                chosen[post] = True
                taken.append(post)
                for tag in tags[offsets[post] : offsets[post + 1]].tolist():
                    left[tag] -= 1
                    if left[tag] == 0:
                        gains[post_of_tag[starts[tag] : starts[tag + 1]]] -= 1
    for post in reversed(taken):
        of_post = tags[offsets[post] : offsets[post + 1]].tolist()
        if all(left[tag] < 0 for tag in of_post):
            chosen[post] = False
            for tag in of_post:
                left[tag] += 1
    return chosen


def rarest_tag_sample(annotations: Annotations, order: np.ndarray, positives: int) -> np.ndarray:
    """The published rule of e6tag: posts in a random order, each counted for the rarest of its tags still wanted.

    Arguments and result as of `cover_sample`.
    """
    counts = annotations.counts()
    rarity = np.empty(len(counts), np.int64)
    rarity[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    ranked, offsets = rarity[annotations.tags], annotations.offsets.tolist()
    left = [positives] * len(counts)  # by rarity
    chosen = np.zeros(len(offsets) - 1, bool)
    for post in order.tolist():
        wanted = [tag for tag in ranked[offsets[post] : offsets[post + 1]].tolist() if left[tag]]
        if wanted:
            left[min(wanted)] -= 1
            chosen[post] = True
    return chosen


SAMPLINGS = {"cover": cover_sample, "e6tag": rarest_tag_sample}


def splits_of(groups: Iterable[str], val: float = 5.0, test: float = 5.0) -> np.ndarray:
    """The split of each group of posts, by a hash of its name: new posts never move old ones.

    Independent of the seed, so that the test posts of one data folder are never training posts of another.

    Args:
        groups: the groups' names.
        val: share of the groups in the validation split, in percent.
        test: share of the groups in the test split, in percent.

    Returns:
        Positions in `records.SPLITS`, uint8 (groups,).
    """
    digests = b"".join(hashlib.blake2b(group.encode(), digest_size=8).digest() for group in groups)
    position = np.frombuffer(digests, "<u8") / 2**64 * 100
    return np.select([position < test, position < test + val], [TEST, VAL], TRAIN).astype(np.uint8)
