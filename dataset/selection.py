"""A board and options ▶ the tags and posts of a data folder, by split, in the order they are written."""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from command import InputError
from dataset.boards import CATEGORIES, Board, Post
from dataset.records import SPLITS
from dataset.sampling import TRAIN, Annotations, priorities, sample, splits_of, vocabulary

SEEN = {CATEGORIES[name] for name in ("general", "copyright", "character", "species")}
MOST_WORDS = 64  # tags that go into a record as words


@dataclass(frozen=True)
class Options:
    """What decides the content of a data folder; recorded in its manifest.

    Attributes:
        board: the board's name.
        images: folder of the user's images, or None.
        csv: the user's table of ids and tags, or None.
        tags: how many tags, at most.
        positives: wanted posts a tag.
        min_positives: the fewest groups of the training split that make a tag eligible.
        size: the short side, in pixels, that larger pictures are brought down to.
        seed: of the choice of posts and of their order.
        val: share of the groups in the validation split, in percent.
        test: share of the groups in the test split, in percent.
        categories: names of the categories that tags are chosen from.
        sampling: one of `sampling.SAMPLINGS`.
        posts: the fewest posts in all.
        board_url: of a board that is reached over a network, or None.
        filters: which of such a board's posts may be chosen, or None.
        numbers: columns of the table whose numbers are learned as tags are, or None.
    """

    board: str
    images: str | None
    csv: str | None
    tags: int
    positives: int
    min_positives: int
    size: int
    seed: int
    val: float
    test: float
    categories: list[str]
    sampling: str = "cover"
    posts: int = 0
    board_url: str | None = None
    filters: dict | None = None
    numbers: list[str] | None = None


@dataclass(frozen=True)
class Entry:
    """A chosen post and the numbers of its tags, as rows of `tags.csv`; with their labels, where those are not all 1."""

    post: Post
    tags: list[int]
    labels: dict[int, float] | None = None


@dataclass(frozen=True)
class Selection:
    """What a data folder will hold.

    Attributes:
        tags: the names of the chosen tags, most frequent first.
        tag_ids: the board's numbers of the tags, or their positions.
        categories: the numbers of their categories.
        implied: those of the other tags that each implies.
        entries: split ▶ its posts, shuffled.
        num_posts: how many posts the board has.
        digest: changes with any of the above, so that a run is not continued over a board that has changed.
        sample: split ▶ how many posts it has, in all parts together.
    """

    tags: list[str]
    tag_ids: list[int]
    categories: list[int]
    implied: list[list[str]]
    entries: dict[str, list[Entry]]
    num_posts: int
    digest: str
    sample: dict[str, int]

    def part(self, index: int, count: int) -> "Selection":
        """One of `count` parts, from 1, that have no post in common; a group is in one part as a whole."""
        entries = {}
        for split, of_split in self.entries.items():
            places = priorities((entry.post.group for entry in of_split), 0, "part") % count
            entries[split] = [entry for entry, place in zip(of_split, places.tolist(), strict=True) if place == index - 1]
        return replace(self, entries=entries)


def select(board: Board, options: Options) -> Selection:
    """Choose tags and posts.

    Tags are chosen by the number of training groups that have them: validation and test posts decide nothing, and a tag
    of many variants of one picture, which could be memorised but not tested, is no frequent tag.

    Raises:
        InputError: the board has no posts, or no tag or no training post is left.
    """
    catalogue = board.catalogue()
    if not len(catalogue.ids):
        raise InputError(f"the board {board.name} has no posts")
    splits = splits_of(map(str, catalogue.groups), options.val, options.test)
    counts = catalogue.annotations.group_counts(_numbered(catalogue.groups), splits == TRAIN)
    annotations = _with_vocabulary(board, options, catalogue.annotations, counts)
    priority = priorities(map(str, catalogue.ids), options.seed, "choice")
    labels = [of_posts for of_posts in (catalogue.artists, catalogue.months) if of_posts is not None]
    chosen = sample(annotations, priority, options.positives, options.sampling, options.posts, labels)
    entries: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for number in np.flatnonzero(chosen).tolist():
        tags = annotations.tags[annotations.offsets[number] : annotations.offsets[number + 1]]
        post = catalogue.post(number)
        post = replace(post, words=described(board, post))
        labels = {tag: post.labels.get(annotations.names[tag], 1.0) for tag in tags.tolist()} if post.labels else None
        entries[SPLITS[splits[number]]].append(Entry(post, sorted(tags.tolist()), labels))
    for split, of_split in entries.items():
        entries[split] = [of_split[number] for number in shuffled((entry.post.id for entry in of_split), options.seed)]
    if not entries["train"]:
        raise InputError(f"no training posts: all {len(splits):,} posts fell into other splits; give more images")
    names = annotations.names
    known = frozenset(names)
    numbers = [board.tag_id(name) for name in names]
    return Selection(
        tags=names,
        tag_ids=[row if number is None else number for row, number in enumerate(numbers)],
        categories=[board.category(name) for name in names],
        implied=[[tag for tag in board.implied(name) if tag in known] for name in names],
        entries=entries,
        num_posts=len(splits),
        digest=_digest(names, entries),
        sample={split: len(of_split) for split, of_split in entries.items()},
    )


def _numbered(groups: Sequence) -> np.ndarray:
    """A number for each group name, int64 (posts,)."""
    if isinstance(groups, array):
        return np.frombuffer(groups, np.int64)
    numbers: dict = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)


def _with_vocabulary(board: Board, options: Options, annotations: Annotations, counts: np.ndarray) -> Annotations:
    """The annotations with the chosen tags alone."""
    wanted = {CATEGORIES[category] for category in (*options.categories, "number")}
    for tag in np.flatnonzero(counts).tolist():
        if board.category(annotations.names[tag]) not in wanted:
            counts[tag] = 0
    tags = vocabulary(annotations.names, counts, options.tags, options.min_positives)
    if not tags:
        most = int(counts.max(initial=0))
        raise InputError(
            f"no tag of the categories {', '.join(options.categories)} has {options.min_positives:,} training groups "
            f"(--min-positives); the most frequent has {most:,}"
        )
    return annotations.restricted(tags)


def described(board: Board, post: Post) -> str:
    """What a post's record says of it in words: the board's own, or else all its tags that can be seen, chosen or not."""
    seen = (tag for tag in post.tags if board.category(tag) in SEEN)
    return post.words or " ".join(islice(seen, MOST_WORDS)).replace("_", " ")


def shuffled(ids: Iterable[str], seed: int) -> list[int]:
    """Positions of posts in the order in which they are written: it depends on their ids and the seed alone."""
    return np.argsort(priorities(ids, seed, "order"), kind="stable").tolist()


def _digest(tags: list[str], entries: dict[str, list[Entry]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(tags).encode())
    for split, of_split in entries.items():
        for entry in of_split:
            digest.update(repr((split, entry.post.id, entry.post.md5, entry.tags)).encode())
            digest.update(repr(entry.labels).encode() if entry.labels else b"")
    return digest.hexdigest()
