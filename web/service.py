"""A tagger behind a queue, and what a request may ask of it."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from fastapi import HTTPException

from dataset.images import ImageError
from model import inputs
from model.predict import BATCH, FRAMES, Tagger
from web.batcher import Batcher, settle
from web.metrics import Metrics


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
        upload_bytes: of a whole request.
        files: in a request.
        waiting: pictures that are being read or wait for the network; more are refused with 503.
    """

    upload_bytes: int = 64 * 2**20
    files: int = 32
    waiting: int = 128


class Service:
    """A tagger behind a queue: uploaded files ▶ probabilities."""

    def __init__(self, tagger: Tagger, limits: Limits, metrics: Metrics):
        self.tagger, self.limits, self.metrics = tagger, limits, metrics
        self._readers = ThreadPoolExecutor(os.cpu_count(), "read")
        self._batcher = Batcher(self._probabilities, BATCH, metrics.batch_size.observe)
        self._in_work = 0

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return self.tagger.scores(pixels, compiled=True)["probability"]

    async def tag(self, files: list[tuple[str, bytes]]) -> list[np.ndarray]:
        """The probabilities (tags,) of each file, by name and content.

        Raises:
            HTTPException: 400 for a file that is no picture, 503 where too many wait.
        """
        loop = asyncio.get_running_loop()
        with self._working_on(len(files)):
            futures = [loop.create_future() for _ in files]
            for future, (_, data) in zip(futures, files, strict=True):
                self._readers.submit(self._read, data, future)
            answers = await asyncio.gather(*futures, return_exceptions=True)  # all are done when the next may come
        for (name, _), answer in zip(files, answers, strict=True):
            if isinstance(answer, ImageError):
                raise HTTPException(400, f"{name}: {answer}")
            if isinstance(answer, Exception):
                raise answer
        return answers

    @contextlib.contextmanager
    def _working_on(self, pictures: int) -> Iterator[None]:
        if self._in_work + pictures > self.limits.waiting:
            raise HTTPException(503, "too many pictures are waiting; try again", {"Retry-After": "1"})
        self._in_work += pictures
        self.metrics.pictures.set(self._in_work)
        try:
            yield
        finally:
            self._in_work -= pictures
            self.metrics.pictures.set(self._in_work)

    def _read(self, data: bytes, future: asyncio.Future) -> None:
        """Read a picture, in a thread, and queue it for the network."""
        try:
            self._batcher.submit(self._frames(data), future)
        except ImageError as error:
            # Anew, for the frames of its traceback hold the file and the future that gets it: a ring, which would stay.
            _fail(future, ImageError(str(error)))
        except Exception as error:  # a defect of ours
            _fail(future, error)

    def _frames(self, data: bytes) -> list[np.ndarray]:
        """The network's input for each frame of a file that is looked at."""
        return [self.tagger.pixels(frame) for _, frame in inputs.frames(data, FRAMES)]

    async def heat(self, name: str, data: bytes, tag: str) -> list[list[float]]:
        """Where a tag is seen in the first frame of a file; see `model.heat`.

        Raises:
            HTTPException: as `tag`.
        """
        with self._working_on(1):
            from model.heat import heat_map

            index = [entry.name for entry in self.tagger.run.tags].index(tag)
            loop = asyncio.get_running_loop()
            try:
                pixels = (await loop.run_in_executor(self._readers, self._frames, data))[0]
            except ImageError as error:
                raise HTTPException(400, f"{name}: {error}") from None
            heat = await loop.run_in_executor(self._readers, heat_map, self.tagger.network, pixels[None], index)
            return np.round(heat[0].astype(float), 3).tolist()

    def close(self) -> None:
        """Finish what is waiting."""
        self._readers.shutdown(cancel_futures=True)
        self._batcher.close()


def _fail(future: asyncio.Future, error: Exception) -> None:
    """Tell those who wait for a picture, from another thread than theirs."""
    future.get_loop().call_soon_threadsafe(settle, [future], [error])


class LimitBody:
    """Refuses a request that is larger than allowed, without reading it to its end.

    Args:
        app: what answers the others.
        most_bytes: of a request.
        by_path: the same for some paths alone.
    """

    def __init__(self, app, most_bytes: int, by_path: dict[str, int]):
        self.app, self.most_bytes, self.by_path = app, most_bytes, by_path

    async def __call__(self, scope, receive, send) -> None:
        """ASGI."""
        received, most = 0, self.by_path.get(scope.get("path"), self.most_bytes)

        async def limited():
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, f"expected at most {most // 2**20} MiB")
            return message

        await self.app(scope, limited if scope["type"] == "http" else receive, send)
