"""Selection of the tags and posts of a data folder, by split, in the order in which they are written."""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from common.errors import InputError, cut, say
from dataset.boards.board import Board, Post, Settings
from dataset.boards.catalogue import Annotations
from dataset.build.sampling import TRAIN, assign_splits, priorities, sample, vocabulary
from dataset.records import CATEGORIES, RATING, RATING_TAGS, RATINGS, SPLITS
from dataset.tag_text import TagReader

VISIBLE_CATEGORIES = {CATEGORIES[name] for name in ("general", "copyright", "character", "species")}
MAX_CAPTION_TAGS = 64  # tags in a caption that is made from tags


@dataclass(frozen=True)
class Options:
    """The options that determine the content of a data folder; recorded in its manifest.

    Attributes:
        board: name of the board.
        images: folder of the user's images, or several, or None.
        csv: the user's table, or None.
        tags: largest number of tags.
        positives: number of posts wanted for each tag.
        min_positives: a tag needs at least so many groups of the training split.
        size: longest short side, in pixels; larger pictures are shrunk.
        seed: seed of the selection and the order of posts.
        val: share of the groups in the validation split, in percent.
        test: share of the groups in the test split, in percent.
        categories: names of the categories from which tags are selected.
        sampling: one of `sampling.SAMPLINGS`.
        posts: smallest number of posts in all splits together.
        board_url: address of a remote board, or None.
        filters: filters of the posts, or None.
        numbers: columns of the table whose numbers are learned like tags, or None.
        separator: what separates the user's tags, one of `tag_text.SEPARATORS`; None: decided from all of them.
        keep_case: True if capitals in the user's tags are left as they are, otherwise None.
        id_column, tags_column: columns of the user's table; None: the usual ones.
        tags_path: keys that lead to the tags in JSON sidecars; None: the usual one.
        aliases, implications: tables of a board's rules about tags; None: there are none.
        strict: True if the user's images that are cut short are left out, otherwise None.
    """

    board: str
    images: str | list[str] | None
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
    separator: str | None = None
    keep_case: bool | None = None
    id_column: str | None = None
    tags_column: str | None = None
    tags_path: str | None = None
    aliases: str | None = None
    implications: str | None = None
    strict: bool | None = None

    @property
    def image_folders(self) -> list[Path]:
        """The folders of the user's images."""
        return [Path(folder) for folder in ([self.images] if isinstance(self.images, str) else self.images or ())]

    def board_settings(self) -> Settings:
        """Return what the board needs to know; of e621, without how to reach it.

        Raises:
            InputError: a column or a filter cannot be used.
        """
        from dataset.boards.filters import Filters
        from dataset.boards.tag_table import Columns

        return Settings(
            images=self.image_folders,
            table=Path(self.csv) if self.csv else None,
            columns=Columns(self.numbers or (), self.id_column or "", self.tags_column or ""),
            reader=TagReader(self.separator or "", bool(self.keep_case)),
            tags_path=self.tags_path or "tags",
            rules=(self.aliases, self.implications),
            filters=Filters(**self.filters) if self.filters else None,
            strict=bool(self.strict),
        )

    def with_images(self, folders: Iterable[Path]) -> "Options":
        """Return these options with further folders of images. One is recorded as a text, several as a list."""
        images = [str(folder) for folder in dict.fromkeys([*self.image_folders, *folders])]
        return replace(self, images=images[0] if len(images) == 1 else images or None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A selected post and its labels.

    Attributes:
        post: the post.
        tags: its tags, as rows of `tags.csv`.
        labels: tag ▶ label; None if all are 1.
    """

    post: Post
    tags: list[int]
    labels: dict[int, float] | None = None


@dataclass(frozen=True)
class Selection:
    """The selected tags and posts of a data folder.

    Attributes:
        tags: names of the selected tags, most frequent first; after them the ratings.
        tag_ids: the board's number of each tag, or its position.
        categories: number of the category of each tag.
        implied: the other selected tags that each tag implies.
        entries: split ▶ its posts, shuffled.
        num_posts: number of posts of the board.
        digest: hash of tags and posts; a run is not continued after the board has changed.
        sample: split ▶ its number of posts, in all parts together.
        num_tagged: number of posts of the board that have a selected tag; 0: unknown, begun by an earlier version.
    """

    tags: list[str]
    tag_ids: list[int]
    categories: list[int]
    implied: list[list[str]]
    entries: dict[str, list[Entry]]
    num_posts: int
    digest: str
    sample: dict[str, int]
    num_tagged: int = 0

    def part(self, index: int, count: int) -> "Selection":
        """Return part `index`, from 1, of `count` parts; all posts of a group are in the same part."""
        entries = {}
        for split, split_entries in self.entries.items():
            parts = (priorities((entry.post.group for entry in split_entries), 0, "part") % count).tolist()
            entries[split] = [entry for entry, part in zip(split_entries, parts, strict=True) if part == index - 1]
        return replace(self, entries=entries)


def select(board: Board, options: Options) -> Selection:
    """Select tags and posts.

    Tags are ranked by the number of training groups that have them. Validation and test posts have no influence, and many
    variants of one picture, which could be memorised but not tested, do not make a tag frequent.

    Raises:
        InputError: the board has no posts, or no tag or no training post is selected.
    """
    catalogue = board.catalogue()
    if not len(catalogue.ids):
        raise InputError(f"the board {board.name} has no posts")
    splits = assign_splits(map(str, catalogue.groups), options.val, options.test)
    counts = catalogue.annotations.group_counts(_group_numbers(catalogue.groups), splits == TRAIN)
    annotations = _restrict_to_vocabulary(board, options, catalogue.annotations, counts)
    priority = priorities(map(str, catalogue.ids), options.seed, "choice")
    strata = [labels for labels in (catalogue.artists, catalogue.months) if labels is not None]
    chosen = sample(annotations, priority, options.positives, options.sampling, options.posts, strata)
    entries: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    rows = list(range(len(annotations.names)))  # one object for each row: entries share them, which saves memory
    for number in np.flatnonzero(chosen).tolist():
        tags = annotations.tags[annotations.offsets[number] : annotations.offsets[number + 1]]
        post = catalogue.post(number)
        post = replace(post, caption=post_caption(board, post))
        labels = {tag: post.labels.get(annotations.names[tag], 1.0) for tag in tags.tolist()} if post.labels else None
        entries[SPLITS[splits[number]]].append(Entry(post, [rows[tag] for tag in np.sort(tags)], labels))
    for split, split_entries in entries.items():
        order = shuffled_positions((entry.post.id for entry in split_entries), options.seed)
        entries[split] = [split_entries[position] for position in order]
    if not entries["train"]:
        raise InputError(f"no training posts: all {len(splits):,} posts fell into other splits; give more images")
    selected, ratings = frozenset(annotations.names), _add_ratings(board, entries, len(annotations.names))
    names = [*annotations.names, *ratings]
    tag_ids = [board.tag_id(name) for name in names]
    return Selection(
        tags=names,
        tag_ids=[row if tag_id is None else tag_id for row, tag_id in enumerate(tag_ids)],
        categories=[*map(board.category, annotations.names), *[RATING] * len(ratings)],
        implied=[[tag for tag in board.implied(name) if tag in selected] for name in names],
        entries=entries,
        num_posts=len(splits),
        digest=_digest(names, entries),
        sample={split: len(split_entries) for split, split_entries in entries.items()},
        num_tagged=int(np.count_nonzero(np.diff(annotations.offsets))),
    )


def _add_ratings(board: Board, entries: dict[str, list[Entry]], num_tags: int) -> list[str]:
    """Give the entries their ratings as tags after the others, if the training posts have at least two different ones.

    Returns:
        The names of these tags.
    """
    known = {entry.post.rating for entry in entries["train"]}
    names = [name for name, rating in zip(RATING_TAGS, RATINGS, strict=True) if rating in known]
    if {"rating:general", "rating:safe"} <= set(names):
        raise InputError("both rating:general and rating:safe are the mildest rating: rename one of them")
    if len(names) < 2:
        if names and not board.remote:
            say(f"all rated pictures have {names[0]}, so that ratings are not learned")
        return []
    say(f"{len(names)} ratings are learned as a group of which one holds: {', '.join(names)}")
    index_of = {name.partition(":")[2]: num_tags + position for position, name in enumerate(names)}
    for split, split_entries in entries.items():
        for position, entry in enumerate(split_entries):
            if (index := index_of.get(entry.post.rating)) is not None:
                labels = entry.labels | {index: 1.0} if entry.labels else None
                entries[split][position] = replace(entry, tags=[*entry.tags, index], labels=labels)
    return names


def _group_numbers(groups: Sequence) -> np.ndarray:
    """Return a number for the group of each post, int64 (posts,)."""
    if isinstance(groups, array):
        return np.frombuffer(groups, np.int64)
    numbers: dict = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)


def _restrict_to_vocabulary(board: Board, options: Options, annotations: Annotations, counts: np.ndarray) -> Annotations:
    """Return the annotations with only the selected tags."""
    wanted = {CATEGORIES[category] for category in (*options.categories, "number")}
    others = [tag for tag in np.flatnonzero(counts).tolist() if board.category(annotations.names[tag]) not in wanted]
    counts[others] = 0
    if others and not board.remote:
        example = annotations.names[others[0]]
        say(f"{len(others):,} tags of other categories are left out, such as {cut(example)}; --categories chooses them")
    tags = vocabulary(annotations.names, counts, options.tags, options.min_positives)
    if not tags:
        most = int(counts.max(initial=0))
        raise InputError(
            f"no tag of the categories {', '.join(options.categories)} has {options.min_positives:,} training groups "
            f"(--min-positives); the most frequent has {most:,}"
        )
    return annotations.restricted(tags)


def post_caption(board: Board, post: Post) -> str:
    """Return the caption of a post: the board's own, or else the post's tags of visible things, selected or not."""
    visible = (tag for tag in post.tags if board.category(tag) in VISIBLE_CATEGORIES)
    return post.caption or " ".join(islice(visible, MAX_CAPTION_TAGS)).replace("_", " ")


def shuffled_positions(ids: Iterable[str], seed: int) -> list[int]:
    """Return the positions of posts in a random order that depends only on their ids and the seed."""
    return np.argsort(priorities(ids, seed, "order"), kind="stable").tolist()


def _digest(tags: list[str], entries: dict[str, list[Entry]]) -> str:
    """Return a hash of the tags and the posts."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(tags).encode())
    for split, split_entries in entries.items():
        for entry in split_entries:
            digest.update(repr((split, entry.post.id, entry.post.md5, entry.tags)).encode())
            digest.update(repr(entry.labels).encode() if entry.labels else b"")
    return digest.hexdigest()
