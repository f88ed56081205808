"""What all boards of pictures on this machine have in common."""

from collections.abc import Sequence
from pathlib import Path

from dataset import recovery
from dataset.boards import picture_source
from dataset.boards.board import Post
from dataset.boards.filters import Filters
from dataset.boards.picture_folders import PictureFolders


class LocalBoard:
    """A board that needs no network; see `Board` for the interface, of which subclasses define the rest.

    Args:
        folders: folders of the pictures, see `PictureFolders`.
        filters: which pictures are used; None: all that may be.
        strict: refuse images that are cut short, instead of using what is there of them.

    Raises:
        InputError: a folder is missing, or one is inside another.
    """

    name = ""
    remote = False
    attribution = ""

    def __init__(self, folders: Sequence[Path], filters: Filters | None = None, strict: bool = False):
        self.skipped: dict[str, int] = {}
        self.rejected: list[tuple[str, str]] = []
        self._folders = PictureFolders(folders)
        self._filters = filters or Filters(ratings=[], exclude=[])
        self._strict = strict

    def image_bytes(self, post: Post, size: int) -> bytes:
        return recovery.read_whole(picture_source.read(post.source), post.source, self._strict)

    def planned_bytes(self, post: Post, size: int) -> int:
        return 0

    def rate(self, post: Post) -> float:
        return 0.0

    def tag_id(self, tag: str) -> int | None:
        return None
