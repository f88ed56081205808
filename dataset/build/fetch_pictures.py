"""Fetching of pictures: read on several threads, re-encoded, and saved on disk until their shard is written."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from common.files import atomic_write
from dataset import images
from dataset.boards.board import Board, Post
from dataset.boards.http_client import MAX_REFUSALS, THREADS, Gone, RequestFailed
from dataset.near_duplicates import thumbnail

IN_FLIGHT_PER_THREAD = 4
FILES_PER_FOLDER = 1000


@dataclass(frozen=True, slots=True)
class Picture:
    """The result of fetching the picture of a post, without the image itself.

    Attributes:
        id: id of the post.
        md5: MD5 of the original file, in hexadecimal.
        thumbnail: see `near_duplicates.thumbnail`.
        reason: why there is no image, or empty.
        gone: whether the board has no file of the post any more.
        passing: whether the failure is temporary, so that another attempt may succeed.
    """

    id: str
    md5: str = ""
    thumbnail: bytes = b""
    reason: str = ""
    gone: bool = False
    passing: bool = False


class Spool:
    """A folder of pictures whose shards are not written yet, so that an interrupted run loses none.

    Each picture has a file: the `Picture` as a line of JSON, then the image. A file is named by the position of its post in
    the sample.

    Args:
        folder: made with the first picture.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def find(self, number: int, post: Post) -> Picture | None:
        """Return the saved result for a post, or None."""
        try:
            with self._path(number).open("rb") as file:
                fields = json.loads(file.readline())
            picture = Picture(**fields | {"thumbnail": bytes.fromhex(fields["thumbnail"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # missing, or damaged by a power failure
            return None
        return picture if picture.id == post.id else None

    def image(self, number: int) -> bytes:
        """Return the image of a post that has one."""
        with self._path(number).open("rb") as file:
            file.readline()
            return file.read()

    def save(self, number: int, picture: Picture, image: bytes) -> None:
        """Save the result for a post, and its image."""
        path = self._path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb", durable=False) as file:
            fields = asdict(picture) | {"thumbnail": picture.thumbnail.hex()}
            file.write(json.dumps(fields).encode() + b"\n" + image)

    def drop(self, numbers: Iterable[int]) -> None:
        """Remove the pictures of a shard that is written."""
        for number in numbers:
            self._path(number).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        folder, file = divmod(number, FILES_PER_FOLDER)
        return self._folder / f"{folder:05}" / f"{file:03}"


class Fetcher:
    """Fetches the pictures of a board into a spool, on several threads.

    Args:
        board: source of the pictures.
        posts: posts of the board, in the order of the sample.
        size: longest short side, in pixels; larger pictures are shrunk.
        spool: destination of the pictures.
    """

    def __init__(self, board: Board, posts: Sequence[Post], size: int, spool: Spool):
        self._board, self._posts, self._size, self._spool = board, posts, size, spool
        self._threads = THREADS if board.remote else min(THREADS, os.cpu_count() or 1)
        self._served: Post | None = None

    def fetch(self, advance: Callable[[], object]) -> list[Picture]:
        """Fetch all pictures that the spool lacks, and return the result for each post, in order.

        Args:
            advance: called once for each post.

        Raises:
            InputError: a remote board does not answer.
        """
        pool = ThreadPoolExecutor(self._threads)
        try:
            pictures: dict[int, Picture] = {}
            for number, picture in self._in_any_order(pool, range(len(self._posts))):
                pictures[number] = picture
                advance()
            # A board that was down for a while may serve now what it refused then.
            if self._board.remote and (failed := [number for number in pictures if pictures[number].passing]):
                self._wait_until_served(self._posts[failed[0]])
                pictures.update(self._in_any_order(pool, failed))
            return [pictures[number] for number in range(len(self._posts))]
        finally:
            # Threads are not waited for: one may wait a minute for the board to recover.
            pool.shutdown(wait=False, cancel_futures=True)

    def _in_any_order(self, pool: ThreadPoolExecutor, numbers: Iterable[int]) -> Iterator[tuple[int, Picture]]:
        """Yield number and result of posts as they arrive; a limited number of posts is in flight."""
        pending: dict[Future, int] = {}
        for number in numbers:
            pending[pool.submit(self._picture, number)] = number
            if len(pending) >= self._threads * IN_FLIGHT_PER_THREAD:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        for future, number in pending.items():
            yield number, future.result()

    def _wait_until_served(self, failed: Post) -> None:
        """Wait until the board serves a picture that it served before; then failures are due to the posts, not the board.

        Args:
            failed: a post that failed; requested if no picture was served before.

        Raises:
            InputError: the board does not answer.
        """
        for _ in range(MAX_REFUSALS):
            try:
                self._board.image_bytes(self._served or failed, self._size)
                return
            except (RequestFailed, Gone, images.ImageError):
                continue

    def _picture(self, number: int) -> Picture:
        """Return the result for a post, from the spool or the board."""
        post = self._posts[number]
        picture = self._spool.find(number, post)
        if picture is None:
            picture, image = self._read(post)
            if not picture.passing:
                self._spool.save(number, picture, image)
        if not picture.reason:
            self._served = post
        return picture

    def _read(self, post: Post) -> tuple[Picture, bytes]:
        """Read a picture from the board and re-encode it."""
        try:
            data = self._board.image_bytes(post, self._size)
            image = images.normalise(data, self._size)
        except images.ImageError as error:
            return Picture(post.id, reason=str(error)), b""
        except Gone as error:
            return Picture(post.id, reason=f"gone: {error}", gone=True), b""
        except MemoryError:
            return Picture(post.id, reason="not enough memory to decode it", passing=True), b""
        except OSError as error:
            return Picture(post.id, reason=f"cannot be read: {error.strerror or error}", passing=True), b""
        md5 = post.md5 or hashlib.md5(data, usedforsecurity=False).hexdigest()
        return Picture(post.id, md5, thumbnail(image)), image
