"""Posts ▶ pictures as records hold them: read on several threads, in order, and kept where reading them again costs."""

import contextlib
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dataset import images
from dataset.boards import Board, Post
from dataset.fetch import MAX_REFUSALS, THREADS, Gone, Refused

IN_FLIGHT_PER_THREAD = 4


@dataclass(frozen=True)
class Picture:
    """A post's image as its record holds it, or the reason why there is none.

    Attributes:
        gone: the board has no file of the post any more.
    """

    image: bytes
    md5: str
    reason: str = ""
    gone: bool = False


class Spool:
    """Fetched pictures whose shard is not written yet, one file each, so that a run that is killed loses none.

    Args:
        folder: where they lie; made with the first.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def find(self, post: Post) -> bytes:
        """A post's picture, or nothing."""
        try:
            return self._path(post).read_bytes()
        except FileNotFoundError:
            return b""

    def keep(self, post: Post, image: bytes) -> None:
        path = self._path(post)
        partial = path.with_suffix(".partial")
        self._folder.mkdir(exist_ok=True)
        partial.write_bytes(image)
        partial.replace(path)

    def drop(self, posts: Iterable[Post]) -> None:
        """Remove the pictures of posts whose shard is written."""
        for post in posts:
            self._path(post).unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, post: Post) -> Path:
        return self._folder / f"{post.id}.jpg"


class Reader:
    """Reads a board's pictures ahead, a bounded number of them.

    Args:
        board: where they come from.
        size: the short side, in pixels, that larger pictures are brought down to.
        spool: where a remote board's pictures are kept until `Spool.drop`.
    """

    def __init__(self, board: Board, size: int, spool: Spool):
        self._board, self._size = board, size
        self._spool = spool if board.remote else None
        self._threads = THREADS if board.remote else min(THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads)
        self._served: Post | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        # Not waited for: a thread may be waiting a minute for a board to recover.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def read(self, posts: Iterable[Post]) -> Iterator[Picture]:
        """The pictures of posts, in order."""
        return _in_order(self._pool, self._picture, posts, self._threads * IN_FLIGHT_PER_THREAD)

    def confirm(self, failed: Post) -> None:
        """Wait until a remote board serves a picture that it served before: then it is not down, failures are the posts'.

        Args:
            failed: a post that failed; asked for where none was served before.

        Raises:
            InputError: it is down.
        """
        for _ in range(MAX_REFUSALS if self._board.remote else 0):
            with contextlib.suppress(Refused):
                self._board.image_bytes(self._served or failed, self._size)
                return

    def _picture(self, post: Post) -> Picture:
        try:
            if self._spool and (image := self._spool.find(post)):
                self._served = post
                return Picture(image, post.md5)
            data = self._board.image_bytes(post, self._size)
            md5 = post.md5 or hashlib.md5(data, usedforsecurity=False).hexdigest()
            picture = Picture(images.normalise(data, self._size), md5)
        except images.ImageError as error:
            return Picture(b"", "", str(error))
        except Gone as error:
            return Picture(b"", "", f"gone: {error}", gone=True)
        except MemoryError:
            return Picture(b"", "", "not enough memory to decode it")
        except OSError as error:
            return Picture(b"", "", f"cannot be read: {error.strerror or error}")
        if self._spool:
            self._spool.keep(post, picture.image)
        self._served = post
        return picture


def _in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, in_flight: int) -> Iterator:
    """`map` over a pool, in order, that runs at most `in_flight` items ahead of its reader."""
    futures: deque = deque()
    for item in items:
        futures.append(pool.submit(function, item))
        if len(futures) >= in_flight:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()
