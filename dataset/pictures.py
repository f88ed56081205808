"""Posts ▶ pictures as records hold them: read on several threads and kept on disk until they are in a shard."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from dataset import images
from dataset.boards import Board, Post
from dataset.duplicates import thumbnail
from dataset.fetch import MAX_REFUSALS, THREADS, Gone, Refused

IN_FLIGHT_PER_THREAD = 4
FILES_PER_FOLDER = 1000


@dataclass(frozen=True)
class Picture:
    """What is known of a post's picture, but for the image itself.

    Attributes:
        id: the post's.
        md5: of the original file, in hexadecimal.
        thumbnail: see `duplicates.thumbnail`, in hexadecimal.
        reason: why there is no image, or empty.
        gone: the board has no file of the post any more.
        passing: another try, later, may have more luck.
    """

    id: str
    md5: str = ""
    thumbnail: str = ""
    reason: str = ""
    gone: bool = False
    passing: bool = False


class Spool:
    """Pictures whose shard is not written yet, a file each, so that a run that is killed loses none.

    A file holds a line of facts and the image. Posts are known by their position in the sample.

    Args:
        folder: where they lie; made with the first.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def find(self, number: int, post: Post) -> Picture | None:
        """What is known of a post's picture, if anything is."""
        try:
            with self._path(number).open("rb") as file:
                picture = Picture(**json.loads(file.readline()))
        except (FileNotFoundError, ValueError, TypeError):  # not there, or a disk that lost power
            return None
        return picture if picture.id == post.id else None

    def image(self, number: int) -> bytes:
        """The image of a post that has one."""
        with self._path(number).open("rb") as file:
            file.readline()
            return file.read()

    def keep(self, number: int, picture: Picture, image: bytes) -> None:
        path = self._path(number)
        partial = path.with_suffix(".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(json.dumps(asdict(picture)).encode() + b"\n" + image)
        partial.replace(path)

    def drop(self, numbers: Iterable[int]) -> None:
        """Remove pictures whose shard is written."""
        for number in numbers:
            self._path(number).unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        folder, file = divmod(number, FILES_PER_FOLDER)
        return self._folder / f"{folder:05}" / f"{file:03}"


class Fetcher:
    """Brings a board's pictures into a spool, a bounded number of them at a time.

    Args:
        board: where they come from.
        posts: which, in the order of their numbers.
        size: the short side, in pixels, that larger pictures are brought down to.
        spool: where they are kept.
    """

    def __init__(self, board: Board, posts: Sequence[Post], size: int, spool: Spool):
        self._board, self._posts, self._size, self._spool = board, posts, size, spool
        self._threads = THREADS if board.remote else min(THREADS, os.cpu_count() or 1)
        self._served: Post | None = None

    def fetch(self, advance: Callable[[], object]) -> list[Picture]:
        """What is known of each post's picture, in order, once all are in the spool or cannot be.

        Args:
            advance: called once a post.

        Raises:
            InputError: a remote board is down.
        """
        pool = ThreadPoolExecutor(self._threads)
        try:
            pictures: dict[int, Picture] = {}
            for number, picture in self._in_any_order(pool, range(len(self._posts))):
                pictures[number] = picture
                advance()
            # A board that was down for a while has refused some that it would serve now.
            if self._board.remote and (again := [number for number in pictures if pictures[number].passing]):
                self._confirm(self._posts[again[0]])
                pictures.update(self._in_any_order(pool, again))
            return [pictures[number] for number in range(len(self._posts))]
        finally:
            # Not waited for: a thread may be waiting a minute for a board to recover.
            pool.shutdown(wait=False, cancel_futures=True)

    def _in_any_order(self, pool: ThreadPoolExecutor, numbers: Iterable[int]) -> Iterator[tuple[int, Picture]]:
        """Number and picture of posts as they come, reading at most some ahead."""
        pending: dict[Future, int] = {}
        for number in numbers:
            pending[pool.submit(self._picture, number)] = number
            if len(pending) >= self._threads * IN_FLIGHT_PER_THREAD:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        for future, number in pending.items():
            yield number, future.result()

    def _confirm(self, failed: Post) -> None:
        """Wait until the board serves a picture that it served before: then it is not down, failures are the posts'.

        Args:
            failed: a post that failed; asked for where none was served before.

        Raises:
            InputError: it is down.
        """
        for _ in range(MAX_REFUSALS):
            try:
                self._board.image_bytes(self._served or failed, self._size)
                return
            except (Refused, Gone, images.ImageError):
                continue

    def _picture(self, number: int) -> Picture:
        post = self._posts[number]
        picture = self._spool.find(number, post)
        if picture is None:
            picture, image = self._read(post)
            if not picture.passing:
                self._spool.keep(number, picture, image)
        if not picture.reason:
            self._served = post
        return picture

    def _read(self, post: Post) -> tuple[Picture, bytes]:
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
        return Picture(post.id, md5, thumbnail(image).hex()), image
