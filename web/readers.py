"""Processes that read pictures. Decoders take and release Python's lock many times; each process has a lock of its own."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import TypeAlias

import numpy as np

from dataset import images
from dataset.images import ImageError
from inference.frames import read_frames
from model.run_folder import Run

GROUP = 16  # largest number of pictures that a process is sent at once
# Without spare memory at the end of its heap, a process gives memory back after each picture and asks for it again, which
# takes a tenth of its time (glibc; processes that are started inherit the variable).
SPARE_HEAP_BYTES = 16 * 2**20
CRASHED = "damaged: its decoder crashed"

Frames: TypeAlias = list[np.ndarray]  # the network's input for the frames of a picture, each uint8 (size, size, 3)
Deliver: TypeAlias = Callable[[Frames | Exception], None]


class Readers:
    """Threads with a process each, which read the pictures that are waiting: single pictures at first, groups under load.

    The pictures of a group reach the network together: several small batches would take it longer than one.

    Args:
        run: run whose stored size, image size and way of resizing are used.
        number: number of processes.
    """

    def __init__(self, run: Run, number: int):
        self._run = run
        self._queue: queue.SimpleQueue[tuple[bytes, Deliver] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="read", daemon=True) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def submit(self, data: bytes, deliver: Deliver) -> None:
        """Queue a picture.

        Args:
            data: content of an image file.
            deliver: called in another thread with the frames that are used, or with what was raised: an ImageError if the
                picture cannot be read.
        """
        self._queue.put((data, deliver))

    def close(self) -> None:
        """Drop the pictures that are waiting, and end the threads and their processes."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            resource_tracker.ensure_running()  # starting it later would unblock the signal
            # The process inherits it: Ctrl-C is for the server alone, also while the process starts.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        process = ReaderProcess(self._run)
        while self._read_group(process):
            pass
        process.close()

    def _read_group(self, process: "ReaderProcess") -> bool:
        """Read what is waiting, or wait for it; return False at the end. The files are freed when it returns."""
        if (item := self._queue.get()) is None:
            return False
        group = [item]
        for _ in range(min(GROUP - 1, self._queue.qsize() // len(self._threads))):  # the rest is for the other threads
            if (item := self._queue.get()) is None:
                self._queue.put(None)  # end after this group
                break
            group.append(item)
        try:
            answers = process.read([data for data, _ in group])
        except Exception as error:  # no process can be started; each request gets it, and the thread continues
            answers = [error] * len(group)
        for (_, deliver), answer in zip(group, answers, strict=True):
            deliver(answer)
        return True


class ReaderProcess:
    """A process that reads pictures. If a decoder crashes, it is started again.

    Args:
        run: run whose stored size, image size and way of resizing are used.
    """

    def __init__(self, run: Run):
        self._run = run
        self._start()

    def _start(self) -> None:
        os.environ.setdefault("MALLOC_TOP_PAD_", str(SPARE_HEAP_BYTES))
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_answer_requests, args=(self._run, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is noticed

    def read(self, files: list[bytes]) -> list[Frames | Exception]:
        """Return the frames that are used of each file, or what was raised: an ImageError if it cannot be read."""
        try:
            self._connection.send(files)
            answers = self._connection.recv()
        except (EOFError, OSError):
            self.close()
            self._start()
            # One of a group crashed its decoder: read one at a time to find it.
            return [ImageError(CRASHED)] if len(files) == 1 else [self.read([data])[0] for data in files]
        # Of large pictures, which take hundreds of megabytes, this process reads one at a time.
        return [_read(self._run, data) if answer is None else answer for data, answer in zip(files, answers, strict=True)]

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()


def _answer_requests(run: Run, connection) -> None:
    """Read the pictures that arrive, until the connection is closed. A large picture is answered with None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows
    while True:
        try:
            files = connection.recv()
        except EOFError:
            return
        connection.send([None if _is_large(run, data) else _read(run, data) for data in files])


def _is_large(run: Run, data: bytes) -> bool:
    try:
        return images.is_large(images.open_to_normalise(data, run.stored_size))
    except ImageError:
        return False


def _read(run: Run, data: bytes) -> Frames | Exception:
    try:
        return [frame.pixels for frame in read_frames(run, data)]
    except ImageError as error:
        # A new exception: the old one refers to the file through its traceback.
        return ImageError(str(error))
    except Exception:  # a bug, or too little memory
        return RuntimeError(traceback.format_exc())
