"""The eligible posts of an export, filtered while they are read and stored in few bytes each."""

from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.progress import progress
from dataset.boards.board import Post
from dataset.boards.catalogue import Annotations, Catalogue
from dataset.boards.database_export import read_batches
from dataset.boards.filters import Filters
from dataset.boards.post_filter import COLUMNS, FILE_TYPES, RATINGS, RESTRICTED, PostTags, TagFilter, filter_rows
from dataset.boards.tag_rules import TagRules
from dataset.records import CATEGORIES

ADDED_AT_ONCE = 2**15  # posts; a tag is looked up once for each block
READ_AHEAD = 64  # batches of 2 MB before filtering
NO_ARTIST = -1


@dataclass
class PostTable:
    """Posts as columns: about 65 bytes for each post and 4 for each of its tags.

    Attributes:
        names: the tags, by number.
        skipped: reason ▶ number of rows left out.
    """

    names: list[str]
    skipped: Counter = field(default_factory=Counter)
    ids: array = field(default_factory=lambda: array("q"))
    groups: array = field(default_factory=lambda: array("q"))
    md5s: bytearray = field(default_factory=bytearray)
    sizes: array = field(default_factory=lambda: array("i"))  # width, height, in pixels
    file_bytes: array = field(default_factory=lambda: array("q"))
    kinds: bytearray = field(default_factory=bytearray)  # number of the rating × 16 + number of the file type
    artists: array = field(default_factory=lambda: array("i"))  # tag of the first artist, or NO_ARTIST
    months: array = field(default_factory=lambda: array("i"))  # for example 202012
    offsets: array = field(default_factory=lambda: array("q", [0]))
    tags: array = field(default_factory=lambda: array("i"))

    def catalogue(self, files_url: str) -> Catalogue:
        """Return the posts in the order of the export. Arrays are shared with the table, not copied.

        Args:
            files_url: address of the folder of the original files, without a trailing slash.
        """
        annotations = Annotations(self.names, _viewed(self.offsets), _viewed(self.tags))
        return Catalogue(
            ids=self.ids,
            groups=self.groups,
            annotations=annotations,
            post=lambda number: self._post(number, files_url),
            artists=_viewed(self.artists),
            months=_viewed(self.months),
        )

    def _post(self, number: int, files_url: str) -> Post:
        md5 = self.md5s[16 * number : 16 * number + 16].hex()
        rating, extension = divmod(self.kinds[number], 16)
        tags = self.tags[self.offsets[number] : self.offsets[number + 1]]
        return Post(
            id=str(self.ids[number]),
            tags=tuple(self.names[tag] for tag in tags),
            group=str(self.groups[number]),
            rating=tuple(RATINGS.values())[rating],
            md5=md5,
            source=f"{files_url}/{md5[:2]}/{md5[2:4]}/{md5}.{FILE_TYPES[extension]}",
            width=self.sizes[2 * number],
            height=self.sizes[2 * number + 1],
            file_bytes=self.file_bytes[number],
        )

    def add(self, rows: pa.Table, tagged: PostTags, categories: np.ndarray) -> None:
        """Append posts.

        Args:
            rows: the columns `COLUMNS` of the posts.
            tagged: their tags.
            categories: int (tags,), number of each tag's category.
        """
        self.ids.frombytes(_integers(rows, "id").tobytes())
        self.md5s += bytes.fromhex("".join(rows["md5"].to_pylist()))
        size = np.stack([_integers(rows, "image_width"), _integers(rows, "image_height")], axis=1)  # (posts, 2)
        self.sizes.frombytes(size.astype(np.int32).tobytes())
        self.file_bytes.frombytes(_integers(rows, "file_size").tobytes())
        self.kinds += (
            (16 * _index_in(rows, "rating", RATINGS) + _index_in(rows, "file_ext", FILE_TYPES)).astype(np.uint8).tobytes()
        )
        months = pc.replace_substring(pc.utf8_slice_codeunits(rows["created_at"], 0, 7), "-", "")
        self.months.frombytes(pc.cast(months, pa.int32()).to_numpy().tobytes())
        artist_tags = np.flatnonzero(categories[tagged.tags] == CATEGORIES["artist"])
        post_of_artist = np.searchsorted(tagged.offsets, artist_tags, side="right") - 1
        artists = np.full(len(rows), NO_ARTIST, np.int32)
        # In reverse, so that the first artist of a post remains.
        artists[post_of_artist[::-1]] = tagged.tags[artist_tags[::-1]]
        self.artists.frombytes(artists.tobytes())
        self.offsets.frombytes((self.offsets[-1] + tagged.offsets[1:]).tobytes())
        self.tags.frombytes(tagged.tags.tobytes())


def read_posts(path: Path, rules: TagRules, filters: Filters) -> PostTable:
    """Read the posts of an export that pass the filters.

    Args:
        path: the file `posts` of the export.
        rules: the board's aliases and implications.
        filters: which posts are eligible.

    Raises:
        InputError: the file is damaged.
    """
    table = PostTable(rules.names)
    tag_filter = TagFilter(rules, filters, lambda tag: tag == RESTRICTED)
    children, parents = array("q"), array("q")
    waiting: list[pa.RecordBatch] = []

    def add() -> None:
        if not any(map(len, waiting)):
            return
        rows = pa.Table.from_batches(waiting).combine_chunks()
        waiting.clear()
        rows, tagged = tag_filter.filter_rows(rows, table.skipped)
        table.add(rows, tagged, np.array(rules.categories))

    def filtered() -> Iterator[pa.RecordBatch]:
        for batch in read_batches(path, COLUMNS):
            bar.update(batch.num_rows)
            _add_links(batch, children, parents)
            yield filter_rows(batch, filters, table.skipped)

    with progress(unit="posts", scaled=True, description="posts") as bar:
        for rows in _ahead(filtered()):
            waiting.append(rows)
            if sum(map(len, waiting)) >= ADDED_AT_ONCE:
                add()
        add()
    pa.default_memory_pool().release_unused()  # Arrow would hold on to what further batches could use
    table.groups.frombytes(roots(_viewed(table.ids), _viewed(children), _viewed(parents)).tobytes())
    return table


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same batches while another thread reads ahead."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = deque(pool.submit(next, batches, None) for _ in range(READ_AHEAD))
        while (batch := upcoming.popleft().result()) is not None:
            upcoming.append(pool.submit(next, batches, None))
            yield batch


def _add_links(batch: pa.RecordBatch, children: array, parents: array) -> None:
    """Collect the links from children to parents, also of filtered posts: children of a deleted parent are a group."""
    linked = pc.match_substring_regex(batch["parent_id"], r"^\d{1,18}$")
    linked = batch.select(["id", "parent_id"]).filter(pc.and_(linked, pc.match_substring_regex(batch["id"], r"^\d{1,18}$")))
    children.frombytes(_integers(linked, "id").tobytes())
    parents.frombytes(_integers(linked, "parent_id").tobytes())


def roots(ids: np.ndarray, children: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Find the root of each post's chain of parents; of a circular chain, the lowest id.

    Args:
        ids: int64 (posts,), ids of the posts.
        children, parents: int64 (links,), ids of a child and of its parent.

    Returns:
        int64 (posts,), ids of the roots.
    """
    linked = np.sort(np.concatenate([children, parents]))
    if not len(linked):
        return ids.copy()
    # As np.unique does, whose hash table takes ten times as long.
    linked = linked[np.append(True, linked[1:] != linked[:-1])]
    up = np.arange(len(linked))
    up[np.searchsorted(linked, children)] = np.searchsorted(linked, parents)
    lowest = np.arange(len(linked))
    # Pointer doubling: each round doubles the number of steps, and no chain is longer than the number of posts.
    for _ in range(len(linked).bit_length()):
        lowest, further = np.minimum(lowest, lowest[up]), up[up]
        if np.array_equal(further, up):
            break
        up = further
    root = linked[lowest[up]]  # a chain ends in a root, or in a circle whose lowest id is in `lowest`
    position = np.minimum(np.searchsorted(linked, ids), len(linked) - 1)
    return np.where(linked[position] == ids, root[position], ids)


def _viewed(values: array) -> np.ndarray:
    return np.frombuffer(values, values.typecode) if values else np.zeros(0, values.typecode)


def _integers(rows: pa.Table | pa.RecordBatch, name: str) -> np.ndarray:
    return pc.cast(rows[name], pa.int64()).to_numpy(zero_copy_only=False)


def _index_in(rows: pa.Table, name: str, values: Iterable[str]) -> np.ndarray:
    return pc.index_in(rows[name], pa.array(list(values))).to_numpy()
