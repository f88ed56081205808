"""Choice of tags, posts and splits: pure functions of a board's annotations.

Annotations are two arrays, as in a sparse matrix: post `i` has the tags `tags[offsets[i]:offsets[i + 1]]`. Nothing here
depends on the order of the posts, so that a board that lists them in another order gives the same data set.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from dataset.boards.catalogue import Annotations
from dataset.records import SPLITS

TRAIN, VAL, TEST = map(SPLITS.index, ("train", "val", "test"))


def vocabulary(names: Sequence[str], counts: np.ndarray, num_tags: int, min_positives: int = 1) -> list[int]:
    """Return the most frequent tags.

    Args:
        names: names of the tags.
        counts: number of positives of each tag, (tags,); 0 for a tag of an unwanted category.
        num_tags: largest number of tags.
        min_positives: smallest number of positives of a selected tag.

    Returns:
        Indices of `names`, the most frequent first, ties by name.
    """
    least = max(1, min_positives)
    if len(counts) > num_tags:  # sort only those that may be among the most frequent
        least = max(least, int(np.partition(counts, -num_tags)[-num_tags]))
    eligible = np.flatnonzero(counts >= least).tolist()
    return sorted(eligible, key=lambda tag: (-int(counts[tag]), names[tag]))[:num_tags]


def priorities(ids: Iterable[str], seed: int, purpose: str) -> np.ndarray:
    """Return a random number for each post that depends only on its id, the seed and the purpose: uint64 (posts,)."""
    return _hashes(ids, hashlib.blake2b(digest_size=8, key=f"{seed} {purpose}".encode()))


def _hashes(names: Iterable[str], keyed: "hashlib.blake2b") -> np.ndarray:
    """Return the hash of each name with a key, uint64 (names,)."""
    digests = bytearray()
    for name in names:
        hasher = keyed.copy()  # takes half of the time of a new one
        hasher.update(name.encode())
        digests += hasher.digest()
    return np.frombuffer(digests, "<u8")


def spread_order(priority: np.ndarray, labels: Iterable[np.ndarray]) -> np.ndarray:
    """Return an order of the posts that mixes labels: the first post of every label comes before the second of any.

    Args:
        priority: (posts,); among posts that the labels do not order, the lowest comes first.
        labels: arrays (posts,) with a label of each post, for example its artist; negative for none. The first array has
            precedence.

    Returns:
        Positions of posts, int64 (posts,).
    """
    order = np.argsort(priority, kind="stable")
    for post_labels in reversed(list(labels)):
        order = order[np.argsort(_occurrences(post_labels[order]), kind="stable")]
    return order


def _occurrences(labels: np.ndarray) -> np.ndarray:
    """Return the number of earlier elements with the same label, (elements,); 0 for negative labels."""
    by_label = np.argsort(labels, kind="stable")
    begins = np.flatnonzero(np.diff(labels[by_label], prepend=-2))
    sizes = np.diff(begins, append=len(labels))
    occurrences = np.empty(len(labels), np.int64)
    occurrences[by_label] = np.arange(len(labels)) - np.repeat(begins, sizes)
    return np.where(labels < 0, 0, occurrences)


def sample(
    annotations: Annotations,
    priority: np.ndarray,
    positives: int,
    sampling: str = "cover",
    posts: int = 0,
    labels: Iterable[np.ndarray] = (),
) -> np.ndarray:
    """Select posts so that every tag has enough positives, as far as the board has them.

    Args:
        annotations: the posts with the tags of the vocabulary; of equally frequent tags, the lower index is the rarer.
        priority: (posts,), see `priorities`; of equally useful posts, the lowest come first.
        positives: number of posts wanted for each tag.
        sampling: one of `SAMPLINGS`.
        posts: smallest number of posts in all, if so many have a tag; the rest is filled at random.
        labels: see `spread_order`; `cover` mixes them among equally useful posts, the published rule ignores them.

    Returns:
        The selected posts, bool (posts,).
    """
    order = spread_order(priority, labels if sampling == "cover" else ())
    chosen = SAMPLINGS[sampling](annotations, order, positives)
    missing = posts - int(chosen.sum())
    if missing > 0:
        tagged = np.diff(annotations.offsets) > 0
        chosen[order[(tagged & ~chosen)[order]][:missing]] = True
    return chosen


def cover_sample(annotations: Annotations, order: np.ndarray, positives: int) -> np.ndarray:
    """Select posts by a greedy set cover: the next post is one that has the most tags still wanted.

    Tags without more posts than wanted come first: all their posts are selected, because every cover needs them. At the end,
    posts that later ones made unnecessary are removed.

    Args:
        annotations: the posts.
        order: positions of the posts, in the order in which ties are broken.
        positives: number of posts wanted for each tag.

    Returns:
        The selected posts, bool (posts,).
    """
    offsets, tags = annotations.offsets, annotations.tags
    counts = annotations.counts()
    posts_by_tag, starts = annotations.posts_by_tag()
    chosen = np.zeros(len(offsets) - 1, bool)
    for tag in np.flatnonzero(counts <= positives):
        chosen[posts_by_tag[starts[tag] : starts[tag + 1]]] = True
    missing = positives - annotations.counts(chosen)
    gains = annotations.counts_by_post(missing > 0)  # number of tags still wanted
    remaining, taken = missing.tolist(), []
    # The gain of a post only decreases, when one of its tags has enough posts: no post joins a level that is in progress.
    for level in range(int(gains.max(initial=0)), 0, -1):
        for post in order[((gains == level) & ~chosen)[order]].tolist():
            if gains[post] == level:
                chosen[post] = True
                taken.append(post)
                for tag in tags[offsets[post] : offsets[post + 1]].tolist():
                    remaining[tag] -= 1
                    if remaining[tag] == 0:
                        gains[posts_by_tag[starts[tag] : starts[tag + 1]]] -= 1
    for post in reversed(taken):
        post_tags = tags[offsets[post] : offsets[post + 1]].tolist()
        if all(remaining[tag] < 0 for tag in post_tags):
            chosen[post] = False
            for tag in post_tags:
                remaining[tag] += 1
    return chosen


def rarest_tag_sample(annotations: Annotations, order: np.ndarray, positives: int) -> np.ndarray:
    """Select posts by the published rule of e6tag: in random order, each counted for the rarest of its tags still wanted.

    Arguments and result are those of `cover_sample`.
    """
    counts = annotations.counts()
    rarity = np.empty(len(counts), np.int64)
    rarity[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    ranked, offsets = rarity[annotations.tags], annotations.offsets.tolist()
    remaining = [positives] * len(counts)  # by rarity
    chosen = np.zeros(len(offsets) - 1, bool)
    for post in order.tolist():
        wanted = [tag for tag in ranked[offsets[post] : offsets[post + 1]].tolist() if remaining[tag]]
        if wanted:
            remaining[min(wanted)] -= 1
            chosen[post] = True
    return chosen


SAMPLINGS = {"cover": cover_sample, "e6tag": rarest_tag_sample}


def assign_splits(groups: Iterable[str], val: float = 5.0, test: float = 5.0) -> np.ndarray:
    """Return the split of each group, by a hash of its name, so that new posts do not change the split of old ones.

    The split does not depend on the seed: test posts of one data folder are never training posts of another.

    Args:
        groups: names of the groups.
        val: share of the groups in the validation split, in percent.
        test: share of the groups in the test split, in percent.

    Returns:
        Indices of `records.SPLITS`, uint8 (groups,).
    """
    position = _hashes(groups, hashlib.blake2b(digest_size=8)) / 2**64 * 100
    return np.select([position < test, position < test + val], [TEST, VAL], TRAIN).astype(np.uint8)
