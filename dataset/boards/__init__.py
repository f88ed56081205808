"""Where annotated pictures come from: every board yields the same kind of post.

A board is a module with a class that satisfies `Board`; `open_board` picks one by name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from command import InputError

if TYPE_CHECKING:
    from dataset.boards.catalogue import Catalogue
    from dataset.boards.e621 import Access
    from dataset.boards.sieve import Filters

BOARDS = ("e621", "openmoji", "folder")

# e621's numbers; other boards' categories are mapped onto them.
CATEGORIES = {
    "general": 0,
    "artist": 1,
    "contributor": 2,
    "copyright": 3,
    "character": 4,
    "species": 5,
    "invalid": 6,
    "meta": 7,
    "lore": 8,
    "number": 9,  # no tag but a number that a user's table gives each picture, as its rank from 0 to 1
}


@dataclass(frozen=True)
class Post:
    """One annotated picture.

    Attributes:
        id: the board's name of the post, unique on the board.
        tags: names of its tags, each once.
        group: pictures of one group (a parent and its children, variants of one emoji) share a split.
        rating: `s` (safe), `q` (questionable) or `e` (explicit).
        md5: MD5 of the original file in hexadecimal, or empty where it is unknown until the file is read.
        source: path or URL of the original file.
        width, height: of the original in pixels, 0 where unknown.
        file_bytes: size of the original file, 0 where unknown.
        words: what it shows, as people say it; empty where its tags are all that the board says.
        labels: tag ▶ label, over 0 and at most 1, of those of its tags that are numbers.
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
    words: str = ""
    labels: dict[str, float] = field(default_factory=dict)


class Board(Protocol):
    """A source of posts.

    Attributes:
        name: the board's name on the command line.
        attribution: whom to credit for the pictures, and their licence; empty where that is the user's own matter.
        skipped: why pictures are no posts here ▶ how many; complete once `posts` has been read to its end.
        rejected: (id, reason) of each entry that was meant to be a post and cannot be; complete like `skipped`. A reason
            is a kind, and perhaps a colon and particulars: summaries count by kind.
        remote: whether pictures come over a network: then they are kept until their shard is written, and the choice of
            posts is kept until the data folder is complete.
    """

    name: str
    remote: bool
    attribution: str
    skipped: dict[str, int]
    rejected: list[tuple[str, str]]

    def posts(self) -> Iterator[Post]:
        """Yield every post, in an order that does not change; may be called again.

        Raises:
            InputError: the board has nothing that can be used.
        """
        ...

    def catalogue(self) -> "Catalogue":
        """The same posts as columns.

        Raises:
            InputError: the board has nothing that can be used.
        """
        ...

    def image_bytes(self, post: Post, size: int) -> bytes:
        """Read one picture; called from several threads at once.

        Args:
            post: a post of this board.
            size: the short side, in pixels, that the picture will be brought down to: a hint for vector graphics and
                for boards that offer several sizes.

        Returns:
            The bytes of an encoded image file.

        Raises:
            OSError: the file is missing or cannot be read.
            images.ImageError: the file cannot be drawn.
            fetch.Gone: the board has no such file any more.
        """
        ...

    def planned_bytes(self, post: Post, size: int) -> int:
        """About how many bytes `image_bytes` will read over a network."""
        ...

    def rate(self, post: Post) -> float:
        """Requests/s at which the host of a remote board's picture is asked; 0 for no limit."""
        ...

    def category(self, tag: str) -> int:
        """The number, as in `CATEGORIES`, of a tag's category."""
        ...

    def tag_id(self, tag: str) -> int | None:
        """The board's own number of a tag, or None."""
        ...

    def implied(self, tag: str) -> tuple[str, ...]:
        """The tags that every post with this one has."""
        ...


def open_board(
    name: str,
    images_folder: Path | None = None,
    csv_path: Path | None = None,
    access: "Access | None" = None,
    filters: "Filters | None" = None,
    numbers: Sequence[str] = (),
) -> Board:
    """Open a board by its name.

    Args:
        name: one of `BOARDS`.
        images_folder: the user's images, for the board `folder`.
        csv_path: the table of ids and tags, for the board `folder`.
        access, filters: how to reach the board `e621`, and which of its posts may be chosen.
        numbers: columns of the table, for the board `folder`.

    Raises:
        InputError: the board is unknown or lacks what it needs.
    """
    if name != "folder" and (images_folder or csv_path or numbers):
        raise InputError(f"--images, --csv and --numbers belong to --board folder, received --board {name}")
    if name == "openmoji":
        from dataset.boards.openmoji import OpenMojiBoard

        return OpenMojiBoard()
    if name == "folder":
        from dataset.boards.folder import FolderBoard

        return FolderBoard(images_folder, csv_path, numbers)
    if name == "e621" and access and filters:
        from dataset.boards.e621 import E621Board

        return E621Board(access, filters)
    raise InputError(f"expected a board of {', '.join(BOARDS)} with what it needs, received {name!r}")
