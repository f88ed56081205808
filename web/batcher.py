"""Pictures of many requests through the network in common batches."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np


class Full(Exception):
    """So many pictures are waiting that another would only wait longer."""


class Batcher:
    """A thread that runs the network on whatever is waiting: one picture at rest, full batches under load.

    No picture waits for a batch to fill: while the network works on one batch, the next one gathers.

    Args:
        network: uint8 (batch, size, size, 3) ▶ float32 (batch, tags).
        batch_size: pictures in a batch, at most.
        capacity: pictures that may wait.
        ran: told the size of each batch.
    """

    def __init__(
        self, network: Callable[[np.ndarray], np.ndarray], batch_size: int, capacity: int, ran: Callable[[int], None]
    ):
        self._network, self._batch_size, self._ran = network, batch_size, ran
        self._waiting: queue.Queue[tuple[np.ndarray, Future] | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._work, name="network")
        self._thread.start()

    def submit(self, pixels: np.ndarray) -> Future:
        """Queue a picture, uint8 (size, size, 3).

        Returns:
            A future of its probabilities, float32 (tags,).

        Raises:
            Full: too many are waiting.
        """
        future: Future = Future()
        try:
            self._waiting.put_nowait((pixels, future))
        except queue.Full:
            raise Full from None
        return future

    @property
    def waiting(self) -> int:
        """Pictures that wait for the network."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Finish what is waiting, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        open_ = True
        while open_:
            batch = [self._waiting.get()]
            while len(batch) < self._batch_size and not self._waiting.empty():
                batch.append(self._waiting.get())
            open_ = None not in batch
            self._run([item for item in batch if item is not None])

    def _run(self, batch: list[tuple[np.ndarray, Future]]) -> None:
        if not batch:
            return
        try:
            rows = self._network(np.stack([pixels for pixels, _ in batch]))
        except Exception as error:  # told to those who wait; the next batch may fare better
            for _, future in batch:
                future.set_exception(error)
            return
        self._ran(len(batch))
        for (_, future), row in zip(batch, rows, strict=True):
            if future.set_running_or_notify_cancel():
                future.set_result(row)
