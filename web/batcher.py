"""Batches for the network from the pictures of many requests."""

import asyncio
import queue
import threading
from collections.abc import Callable

import numpy as np


class Batcher:
    """A thread that runs the network on the pictures that are waiting: single pictures at first, full batches under load.

    A picture never waits for a batch to fill: while the network works on one batch, the next pictures queue up.

    Args:
        network: function from pixels, uint8 (batch, size, size, 3), to probabilities, float32 (batch, tags).
        batch_size: number of frames from which a batch is full.
        on_batch: called with the number of frames of each batch.
    """

    def __init__(self, network: Callable[[np.ndarray], np.ndarray], batch_size: int, on_batch: Callable[[int], None]):
        self._network, self._batch_size, self._on_batch = network, batch_size, on_batch
        self._queue: queue.SimpleQueue[tuple[list[np.ndarray], asyncio.Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="network")
        self._thread.start()

    def submit(self, frames: list[np.ndarray], future: asyncio.Future) -> None:
        """Queue a picture. May be called from any thread.

        Args:
            frames: frames of the picture, each uint8 (size, size, 3).
            future: gets the picture's probabilities, float32 (tags,): the highest of all frames for each tag.
        """
        self._queue.put((frames, future))

    def close(self) -> None:
        """Process the pictures that are waiting, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            batch, frames = [item], len(item[0])
            while frames < self._batch_size and not self._queue.empty():
                if (item := self._queue.get()) is None:
                    self._queue.put(None)  # end after this batch
                    break
                batch.append(item)
                frames += len(item[0])
            self._run(batch)

    def _run(self, batch: list[tuple[list[np.ndarray], asyncio.Future]]) -> None:
        counts = [len(frames) for frames, _ in batch]
        answers: np.ndarray | list[Exception]
        try:
            rows = self._network(np.stack([frame for frames, _ in batch for frame in frames]))
            answers = np.maximum.reduceat(rows, np.cumsum([0, *counts[:-1]]))  # (pictures, tags)
            self._on_batch(len(rows))
        except Exception as error:  # each request of the batch gets it, and the thread continues
            answers = [error] * len(batch)
        futures = [future for _, future in batch]
        # One call for the whole batch: each one takes Python's lock from the threads that read pictures.
        futures[0].get_loop().call_soon_threadsafe(settle, futures, answers)


def settle(futures: list[asyncio.Future], answers) -> None:
    """Set the results of futures. Runs in the thread of the event loop.

    Args:
        futures: futures of one event loop.
        answers: for each future, a result or an exception.
    """
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # the request was cancelled
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
