"""Predictions for requests: a tagger behind a queue, and the limits of a request."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
from fastapi import HTTPException

from dataset.images import ImageError
from dataset.records import CATEGORIES, NUMBER, RATING, Tag
from inference.ratings import DANBOORU_RATINGS
from inference.saliency import heat_map
from inference.tagger import BATCH, Tagger
from web.batcher import Batcher, settle
from web.prometheus import Metrics
from web.readers import Frames, Readers

MAX_READERS = 8  # a process takes some 60 MB
TAG_CATEGORIES = frozenset(CATEGORIES.values()) - {NUMBER}  # numbers have a value for every picture


@dataclass(frozen=True)
class Limits:
    """Limits of requests.

    Attributes:
        upload_bytes: largest size of a request.
        files: largest number of files in a request.
        waiting: largest number of pictures that are being read or wait for the network; more are refused with 503.
    """

    upload_bytes: int = 64 * 2**20
    files: int = 32
    waiting: int = 128


class Service:
    """Predicts uploaded files: processes read them, and one thread runs the network.

    Args:
        tagger: run to serve.
        limits: limits of a request.
        metrics: metrics to update.
    """

    def __init__(self, tagger: Tagger, limits: Limits, metrics: Metrics):
        self.tagger, self.limits, self.metrics = tagger, limits, metrics
        served = [replace(tag, name=DANBOORU_RATINGS.get(tag.name, tag.name)) for tag in tagger.run.tags]
        self.tags = [tag for tag in served if tag.category in TAG_CATEGORIES]
        self._names = [tag.name for tag in served]
        self._index_of = {name: index for index, name in enumerate(self._names)}
        self._readers = Readers(tagger.run, min(os.cpu_count() or 1, MAX_READERS))
        self._batcher = Batcher(self._probabilities, BATCH, metrics.batch_size.observe)
        self._in_work = 0

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return self.tagger.scores(pixels, compiled=True)["probability"]

    async def tag(self, files: list[tuple[str, bytes]]) -> list[np.ndarray | ImageError]:
        """Return the probabilities (tags,) of each file, or why it is not a picture that can be read.

        Args:
            files: name and content of each file.

        Raises:
            HTTPException: 400, the only file is not a picture; 503, too many pictures are waiting.
        """
        loop = asyncio.get_running_loop()
        with self._working_on(len(files)):
            futures = [loop.create_future() for _ in files]
            for future, (_, data) in zip(futures, files, strict=True):
                self._readers.submit(data, partial(self._queue_frames, future))
            # Waits for all, even if one fails: until then they count as pictures in work.
            answers = await asyncio.gather(*futures, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, ImageError):
                raise answer
        if len(answers) == 1 and isinstance(answers[0], ImageError):
            raise HTTPException(400, f"{files[0][0]}: {answers[0]}")
        return cast("list[np.ndarray | ImageError]", answers)

    def choose(self, probabilities: np.ndarray, threshold: float, limit: int) -> dict[str, float]:
        """Return the tags of a picture, as `Tagger.choose` does, without numbers, and ratings as Danbooru names them.

        Args:
            probabilities: (tags,).
            threshold: lowest probability.
            limit: largest number of tags; 0 or less: none.
        """
        tags = self.tagger.choose(probabilities, threshold, max(0, limit), TAG_CATEGORIES)
        return {DANBOORU_RATINGS.get(name, name): probability for name, probability in tags.items()}

    def threshold(self, tag: Tag) -> float:
        """Return the probability from which one of `tags` is predicted; 0 for a rating, because the best one always is."""
        return 0.0 if tag.category == RATING else float(self.tagger.thresholds[self._index_of[tag.name]])

    def implied(self, tag: Tag) -> list[str]:
        """Return the names of all of `tags` that one of them implies."""
        return [self._names[index] for index in self.tagger.logic.implied[self._index_of[tag.name]]]

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

    def _queue_frames(self, future: asyncio.Future, frames: Frames | Exception) -> None:
        """Queue the frames of a picture for the network; what was raised instead goes to the future. Runs in a thread."""
        if isinstance(frames, Exception):
            _settle_from_thread(future, frames)
        else:
            self._batcher.submit(frames, future)

    async def heat(self, name: str, data: bytes, tag: str) -> list[list[float]]:
        """Return the heat map of a tag in the first frame of a file; see `inference.saliency`.

        Args:
            name: name of the file.
            data: content of the file.
            tag: name of one of `tags`.

        Returns:
            Rows of numbers from 0 to 1.

        Raises:
            HTTPException: as for `tag`.
        """
        with self._working_on(1):
            future = asyncio.get_running_loop().create_future()
            self._readers.submit(data, partial(_settle_from_thread, future))
            try:
                frames = await future
            except ImageError as error:
                raise HTTPException(400, f"{name}: {error}") from None
            heat = await asyncio.to_thread(heat_map, self.tagger.network, frames[0][np.newaxis], self._index_of[tag])
            return np.round(heat[0].astype(float), 3).tolist()

    def close(self) -> None:
        """Stop reading, process the pictures that wait for the network, and end the threads and processes."""
        self._readers.close()
        self._batcher.close()


def _settle_from_thread(future: asyncio.Future, answer) -> None:
    """Set the result of a future, or an exception, from another thread than that of its event loop."""
    future.get_loop().call_soon_threadsafe(settle, [future], [answer])


class LimitBody:
    """ASGI middleware that refuses requests that are too large, without reading all of them.

    Args:
        app: ASGI application that handles the other requests.
        max_bytes: largest size of a request.
        max_bytes_by_path: largest size for some paths.
    """

    def __init__(self, app, max_bytes: int, max_bytes_by_path: dict[str, int]):
        self.app, self.max_bytes, self.max_bytes_by_path = app, max_bytes, max_bytes_by_path

    async def __call__(self, scope, receive, send) -> None:
        """Handle a request."""
        received, max_bytes = 0, self.max_bytes_by_path.get(scope.get("path"), self.max_bytes)

        async def receive_limited():
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise HTTPException(413, f"expected at most {max_bytes // 2**20} MiB")
            return message

        await self.app(scope, receive_limited if scope["type"] == "http" else receive, send)
