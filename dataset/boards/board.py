"""The interface of a board: a source of annotated pictures, each of which is a `Post`.

A board is a class that satisfies `Board`, in a module of its own; `open_board` opens one by name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from common.errors import InputError
from dataset.tag_text import TagReader

if TYPE_CHECKING:
    from dataset.boards.catalogue import Catalogue
    from dataset.boards.collection import Collection
    from dataset.boards.e621 import Access
    from dataset.boards.filters import Filters
    from dataset.boards.metadata_table import MetadataTableBoard
    from dataset.boards.tag_table import Columns

COLLECTIONS = ("folder", "gallery-dl", "hydrus", "webdataset", "table")  # of pictures on this machine
BOARDS = ("e621", "openmoji", *COLLECTIONS)


@dataclass(frozen=True, slots=True)
class Post:
    """One annotated picture.

    Attributes:
        id: identifies the post on its board.
        tags: names of its tags, without repetition.
        group: name of its group. Pictures of one group (a parent and its children, variants of one emoji) share a split.
        rating: one of `records.RATINGS`, `UNKNOWN_RATING`, or empty if it has none.
        md5: MD5 of the original file in hexadecimal; empty if unknown before the file is read.
        source: path or URL of the original file.
        width, height: size of the original in pixels; 0 if unknown.
        file_bytes: size of the original file; 0 if unknown.
        caption: a description in words; empty if the board has only tags.
        labels: tag ▶ label, greater than 0 and at most 1, for the tags that stand for a column of numbers.
    """

    id: str
    tags: tuple[str, ...]
    group: str
    rating: str
    md5: str
    source: str
    width: int = 0
    height: int = 0
    file_bytes: int = 0
    caption: str = ""
    labels: dict[str, float] = field(default_factory=dict)


class Board(Protocol):
    """A source of posts.

    Attributes:
        name: the board's name on the command line.
        remote: whether pictures come over a network. If so, they are stored until their shard is written, and the
            selection of posts is stored until the data folder is complete.
        attribution: the credit and licence of the pictures; empty if they are the user's own.
        skipped: reason ▶ number of pictures that are not posts for this reason; complete after `posts` has been read to
            its end.
        rejected: (id, reason) of each entry that cannot be used as a post; complete when `skipped` is. A reason is a
            kind, optionally followed by a colon and details: summaries count by kind.
    """

    name: str
    remote: bool
    attribution: str
    skipped: dict[str, int]
    rejected: list[tuple[str, str]]

    def posts(self) -> Iterator[Post]:
        """Yield every post, in the same order at every call.

        Raises:
            InputError: the board has no usable posts.
        """
        ...

    def catalogue(self) -> "Catalogue":
        """Return the same posts as columns.

        Raises:
            InputError: the board has no usable posts.
        """
        ...

    def image_bytes(self, post: Post, size: int) -> bytes:
        """Read one picture; must be thread-safe.

        Args:
            post: a post of this board.
            size: the short side, in pixels, to which the picture will be scaled down: a hint for vector graphics and
                for boards that offer several sizes.

        Returns:
            The bytes of an encoded image file.

        Raises:
            OSError: the file is missing or cannot be read.
            images.ImageError: the file cannot be rendered.
            http_client.Gone: the board no longer has the file.
        """
        ...

    def planned_bytes(self, post: Post, size: int) -> int:
        """Estimate the number of bytes that `image_bytes` will read over a network."""
        ...

    def rate(self, post: Post) -> float:
        """Return the rate limit of the host of a post's picture, in requests per second; 0: no limit. Remote boards only."""
        ...

    def category(self, tag: str) -> int:
        """Return the number of a tag's category, as in `records.CATEGORIES`."""
        ...

    def tag_id(self, tag: str) -> int | None:
        """Return the board's own number of a tag, or None."""
        ...

    def implied(self, tag: str) -> tuple[str, ...]:
        """Return the tags that a tag implies: every post with the tag has them too."""
        ...


@dataclass(frozen=True)
class Settings:
    """What the boards need to know, each some of it.

    Attributes:
        images: folders of the user's pictures; for all boards but e621 and openmoji.
        table: table of ids and tags, for the board `folder`, or of posts, for `table`.
        columns: what the user says about the columns of the first.
        reader: how tags in texts are separated and spelled; None: as `TagReader` decides.
        rules: paths of a board's tables of aliases and of implications, None where there is none.
        tags_path: keys that lead to the tags in a JSON sidecar, for `hydrus`.
        access: how to reach the board `e621`.
        filters: which posts are eligible; None: all that may be.
        strict: whether the user's images that are cut short are refused.
    """

    images: Sequence[Path] = ()
    table: Path | None = None
    columns: "Columns | None" = None
    reader: TagReader | None = None
    tags_path: str = "tags"
    rules: tuple[str | None, str | None] = (None, None)
    access: "Access | None" = None
    filters: "Filters | None" = None
    strict: bool = False


def open_board(name: str, settings: Settings = Settings()) -> Board:
    """Open a board by its name.

    Args:
        name: one of `BOARDS`.
        settings: what it needs.

    Raises:
        InputError: the board is unknown, or a setting that it needs is missing.
    """
    if name == "openmoji":
        from dataset.boards.openmoji import OpenMojiBoard

        return OpenMojiBoard()
    if name == "e621" and settings.access and settings.filters:
        from dataset.boards.e621 import E621Board

        return E621Board(settings.access, settings.filters)
    if name not in COLLECTIONS:
        raise InputError(f"expected one of the boards {', '.join(BOARDS)} with what it needs, received {name!r}")
    if not settings.images:
        raise InputError(f"--board {name} needs --images DIR, the folder of your images")
    board = _open_collection(name, settings)
    board.read_rules(*settings.rules)
    return board


def _open_collection(name: str, settings: Settings) -> "Collection | MetadataTableBoard":
    """Open a board of pictures on this machine."""
    if name == "folder":
        from dataset.boards.folder import FolderBoard

        columns = settings.columns
        return FolderBoard(settings.images, settings.table, columns, settings.reader, settings.strict, settings.filters)
    if name == "gallery-dl":
        from dataset.boards.gallery_dl import GalleryDlBoard

        return GalleryDlBoard(settings.images, settings.reader, settings.filters, settings.strict)
    if name == "hydrus":
        from dataset.boards.hydrus import HydrusBoard

        return HydrusBoard(settings.images, settings.tags_path, settings.reader, settings.filters, settings.strict)
    if name == "webdataset":
        from dataset.boards.webdataset import WebDatasetBoard

        return WebDatasetBoard(settings.images, settings.reader, settings.filters, settings.strict)
    from dataset.boards.metadata_table import MetadataTableBoard

    separator = settings.reader.separator if settings.reader else ""
    return MetadataTableBoard(settings.images, settings.table, settings.filters, settings.strict, separator)
