"""Read pictures into the network's input, frame by frame, in threads that read ahead."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from common.errors import InputError
from dataset import images
from inference import sources
from inference.sources import Source
from model.run_folder import Run

T = TypeVar("T")

FRAMES = 8  # frames of an animation that are used
READ_AHEAD = 64  # pictures that may be read before they are needed


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be read, and the reason in a few words."""

    source: Source
    reason: str


@dataclass(frozen=True)
class Frame:
    """One frame of a picture.

    Attributes:
        seconds: time at which the frame begins; 0 for a still picture.
        stored: JPEG that a shard would hold.
        pixels: input of the network, uint8 (image_size, image_size, 3), equal to what a shard would give.
    """

    seconds: float
    stored: bytes
    pixels: np.ndarray


@dataclass
class Prediction:
    """A picture with the network's scores.

    Attributes:
        source: the picture.
        seconds: time at which each frame begins; 0 for a still picture.
        frames: input of the network for each frame, uint8 (image_size, image_size, 3).
        scores: the arrays that `Tagger.scores` returns, each (frames, tags).
    """

    source: Source
    seconds: list[float]
    frames: list[np.ndarray]
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def probability(self) -> np.ndarray:
        """Probabilities (tags,): the highest of all frames for each tag."""
        return self.scores["probability"].max(axis=0)

    @property
    def uncertainty(self) -> np.ndarray:
        """Standard deviations (tags,) of the probabilities, each from the frame with the highest probability.

        Raises:
            InputError: the network has no noise layer, or is an ONNX file for other programs.
        """
        if "variance" not in self.scores:
            expected = "a run folder, or its model.onnx, of a run that was trained with --noise diagonal or low-rank"
            raise InputError(f"uncertainty needs {expected}")
        best = self.scores["probability"].argmax(axis=0)
        return np.sqrt(self.scores["variance"][best, np.arange(len(best))])


def read_frames(run: Run, data: bytes, max_frames: int = FRAMES) -> list[Frame]:
    """Return the frames of an encoded picture: one, or several of an animation.

    Args:
        run: run whose stored size, image size and way of resizing are used.
        data: content of an image file.
        max_frames: largest number of frames.

    Raises:
        ImageError: the picture cannot be read.
    """
    frames = []
    for seconds, encoded in sources.frames(data, max_frames):
        stored = images.normalise(encoded, run.stored_size)
        frames.append(Frame(seconds, stored, images.network_input(stored, run.config.image_size, run.config.resize)))
    return frames


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last list may be shorter."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def read_ahead(pictures: Iterable[Source], read: Callable[[Source], T]) -> Iterator["T | Unreadable"]:
    """Call `read` for each source in threads that read ahead, and yield the results in order."""

    def attempt(source: Source) -> "T | Unreadable":
        try:
            return read(source)
        except images.ImageError as error:
            return Unreadable(source, str(error))
        except OSError as error:
            return Unreadable(source, str(error.strerror or error))
        except MemoryError:
            return Unreadable(source, "not enough memory to decode it")

    pool = ThreadPoolExecutor(os.cpu_count())
    futures: deque[Future] = deque()
    try:
        for source in pictures:
            futures.append(pool.submit(attempt, source))
            if len(futures) > READ_AHEAD:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
