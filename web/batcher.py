"""Pictures of many requests through the network in common batches."""

import asyncio
import queue
import threading
from collections.abc import Callable

import numpy as np


class Batcher:
    """A thread that runs the network on whatever is waiting: one picture at rest, full batches under load.

    No picture waits for a batch to fill: while the network works on one batch, the next one gathers.

    Args:
        network: uint8 (batch, size, size, 3) ▶ float32 (batch, tags).
        batch_size: frames from which a batch is full.
        ran: told the number of frames of each batch.
    """

    def __init__(self, network: Callable[[np.ndarray], np.ndarray], batch_size: int, ran: Callable[[int], None]):
        self._network, self._batch_size, self._ran = network, batch_size, ran
        self._waiting: queue.SimpleQueue[tuple[list[np.ndarray], asyncio.Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="network")
        self._thread.start()

    def submit(self, frames: list[np.ndarray], future: asyncio.Future) -> None:
        """Queue a picture; may be called in any thread.

        Args:
            frames: uint8 (size, size, 3) each.
            future: gets the picture's probabilities, float32 (tags,): an animation shows what any frame of it shows.
        """
        self._waiting.put((frames, future))

    def close(self) -> None:
        """Finish what is waiting, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            batch, frames = [item], len(item[0])
            while frames < self._batch_size and not self._waiting.empty():
                if (item := self._waiting.get()) is None:
                    self._waiting.put(None)  # this batch first
                    break
                batch.append(item)
                frames += len(item[0])
            self._run(batch)

    def _run(self, batch: list[tuple[list[np.ndarray], asyncio.Future]]) -> None:
        counts = [len(frames) for frames, _ in batch]
        try:
            rows = self._network(np.stack([frame for frames, _ in batch for frame in frames]))
            answers = np.maximum.reduceat(rows, np.cumsum([0, *counts[:-1]]))  # (pictures, tags)
            self._ran(len(rows))
        except Exception as error:  # told to those who wait; the next batch may fare better
            answers = [error] * len(batch)
        futures = [future for _, future in batch]
        # The event loop is woken once a batch, for each time it takes Python's lock from those that read pictures.
        futures[0].get_loop().call_soon_threadsafe(settle, futures, answers)


def settle(futures: list[asyncio.Future], answers) -> None:
    """Hand answers to those who wait for them, in the event loop's thread.

    Args:
        futures: of one event loop.
        answers: for each a result, or the exception that came instead.
    """
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # given up
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
