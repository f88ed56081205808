"""The batches of a whole split, in order and without augmentation, for evaluation and for whatever looks at every picture.

They are made without TensorFlow: a dataset of tf.data, which a validation would build anew in every epoch, leaves some
kilobytes of memory behind each time.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from common.errors import InputError
from dataset import images, records
from dataset.damage import explain_damage
from dataset.records import Record


@dataclass(frozen=True)
class OrderedBatch:
    """Pictures that follow each other in a split.

    Attributes:
        records: their records.
        labels: float32 (pictures, tags).
        pixels: the network's input, uint8 (pictures, image_size, image_size, 3); (0, …) if another process has them.
    """

    records: list[Record]
    labels: np.ndarray
    pixels: np.ndarray


def ordered_batches(
    folder: Path,
    split: str,
    num_tags: int,
    image_size: int,
    resize: str,
    batch_size: int,
    part: int = 0,
    parts: int = 1,
) -> Iterator[OrderedBatch]:
    """Yield the batches of a whole split. Some are prepared ahead, in threads.

    Args:
        folder, split: what is read.
        num_tags: number of tags of the folder.
        image_size, resize: see `images.fit`.
        batch_size: images in a batch; the last one may have fewer.
        part, parts: of so many batches in a row only this one, from 0, gets pixels.

    Raises:
        InputError: the folder has no shard of the split, or a shard or a picture is damaged.
    """
    if not records.shard_paths(folder, split):
        raise InputError(f"{folder} has no {split} shards: expected a folder made by download.py")

    def prepare(number: int, batch: list[Record]) -> OrderedBatch:
        labels = np.zeros((len(batch), num_tags), np.float32)
        for row, record in enumerate(batch):
            labels[row, list(record.labels)] = list(record.labels.values())
        pixels = np.empty((len(batch) if number % parts == part else 0, image_size, image_size, 3), np.uint8)
        for row in range(len(pixels)):
            pixels[row] = images.network_input(batch[row].image, image_size, resize)
        return OrderedBatch(batch, labels, pixels)

    threads = os.cpu_count() or 1
    waiting: deque[Future[OrderedBatch]] = deque()
    # Pillow releases Python's global lock while it decodes and resizes, so that the threads use all cores.
    with explain_damage(folder, split), ThreadPoolExecutor(threads) as pool:
        stored = records.read(folder, split)
        batches = iter(lambda: list(islice(stored, batch_size)), [])
        for number, batch in enumerate(batches):
            waiting.append(pool.submit(prepare, number, batch))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
