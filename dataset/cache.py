"""A cache of decoded training pictures, in memory or in a memory-mapped file.

It holds the pictures from `images.decode_to_fit`, before augmentation; or, if augmentation only mirrors, the network's
inputs. It takes many times the space of the JPEGs, and saves their decoding in every epoch but the first.
"""

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.errors import InputError
from common.files import atomic_write
from common.progress import progress
from dataset import images, records
from dataset.damage import explain_damage

CACHE_CHOICES = ("none", "memory", "disk")
MAX_SHARE = 0.6  # of the free memory or disk space; a larger cache is refused
MIN_PICTURES = 64  # the size of the cache is estimated from at least so many
BATCH_RECORDS = 256


@dataclass(frozen=True)
class Cache:
    """Decoded pictures and their labels, in the order of the shards and of the records in them.

    Attributes:
        fitted: whether the pictures are squares of the network's input size.
        pixels: uint8 (bytes of all pictures,), one picture after the other.
        starts: int64 (pictures + 1,), the position in `pixels` at which each picture begins.
        shapes: int64 (pictures, 2), height and width.
        tags: int64 (tags of all pictures,), the indices of each picture's tags.
        labels: float32 (tags of all pictures,), their labels.
        tag_starts: int64 (pictures + 1,), the position in `tags` and `labels` at which each picture begins.
        shard_starts: int64 (shards + 1,), the number of the first picture of each shard.
    """

    fitted: bool
    pixels: np.ndarray
    starts: np.ndarray
    shapes: np.ndarray
    tags: np.ndarray
    labels: np.ndarray
    tag_starts: np.ndarray
    shard_starts: np.ndarray

    def picture(self, number: int) -> Image.Image:
        """Return one picture by its number."""
        height, width = self.shapes[number]
        return Image.fromarray(self.pixels[self.starts[number] : self.starts[number + 1]].reshape(height, width, 3))

    def fitted_pictures(self, numbers: np.ndarray, image_size: int) -> np.ndarray:
        """Return pictures by their numbers, from a cache of fitted ones: uint8 (pictures, image_size, image_size, 3)."""
        return self.pixels.reshape(-1, image_size, image_size, 3)[numbers]

    def label_matrix(self, numbers: np.ndarray, num_tags: int) -> np.ndarray:
        """Return the labels of pictures by their numbers: float32 (pictures, num_tags)."""
        labels = np.zeros((len(numbers), num_tags), np.float32)
        counts = self.tag_starts[numbers + 1] - self.tag_starts[numbers]
        rows = np.repeat(np.arange(len(numbers)), counts)
        positions = np.arange(len(rows)) + np.repeat(self.tag_starts[numbers] - (np.cumsum(counts) - counts), counts)
        labels[rows, self.tags[positions]] = self.labels[positions]
        return labels


def open_cache(folder: Path, where: str, image_size: int, resize: str, fitted: bool, available_bytes: int) -> Cache:
    """Decode the training split, or open the file of an earlier run that did so.

    Args:
        folder: the data folder; a file is written to its folder `.cache/`.
        where: `memory` or `disk`.
        image_size, resize: see `images.fit`.
        fitted: store squares of the network's input size instead of whole pictures.
        available_bytes: free memory.

    Raises:
        InputError: the pictures do not fit, or a shard is damaged.
    """
    paths = records.shard_paths(folder, "train")
    cache_folder = folder / ".cache"
    available = available_bytes if where == "memory" else shutil.disk_usage(folder).free
    shards = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    key = (shards, image_size, resize, fitted, "labels")  # caches of earlier versions hold no labels
    name = hashlib.md5(repr(key).encode()).hexdigest()
    pixels_path, index_path = cache_folder / f"{name}.pixels", cache_folder / f"{name}.npz"
    if where == "disk" and index_path.exists():
        with np.load(index_path, allow_pickle=False) as stored:
            index = {key: stored[key] for key in stored.files}
        if pixels_path.exists() and pixels_path.stat().st_size == index["starts"][-1]:
            return Cache(fitted, np.memmap(pixels_path, np.uint8, "r"), **index)

    def decode(encoded: bytes) -> np.ndarray:
        image = images.decode_to_fit(encoded, image_size, resize)
        return np.asarray(images.fit(image, image_size, resize) if fitted else image)

    if where == "memory":
        pixels = bytearray()
        with explain_damage(folder, "train"):
            index = _decode_all(paths, decode, available, pixels.extend)
        return Cache(fitted, np.frombuffer(pixels, np.uint8), **index)
    cache_folder.mkdir(exist_ok=True)
    with explain_damage(folder, "train"), atomic_write(pixels_path, "wb") as file:
        index = _decode_all(paths, decode, available, file.write)
    with atomic_write(index_path, "wb") as file:
        np.savez(file, **index)
    return Cache(fitted, np.memmap(pixels_path, np.uint8, "r"), **index)


def _decode_all(paths: list[Path], decode: Callable, available: int, write: Callable) -> dict[str, Any]:
    """Decode all pictures, pass their pixels to `write` in order, and return the index: all fields but `pixels`."""
    import tensorflow as tf

    shapes, picture_labels, shard_sizes = [], [], []
    total = sum(path.stat().st_size for path in paths)
    done = 0
    bar = progress(unit="B", scaled=True, total=total, description="decoding", leave=False)
    with ThreadPoolExecutor() as pool, bar:
        for path in paths:
            shard_sizes.append(0)
            for batch in tf.data.TFRecordDataset(str(path)).batch(BATCH_RECORDS).as_numpy_iterator():
                examples = [tf.train.Example.FromString(record).features.feature for record in batch]
                encoded = [example["image"].bytes_list.value[0] for example in examples]
                for array in pool.map(decode, encoded):
                    write(array.tobytes())
                    shapes.append(array.shape[:2])
                picture_labels += map(records.labels_by_tag, examples)
                shard_sizes[-1] += len(batch)
                done += sum(map(len, batch))
                bar.update(sum(map(len, batch)))
                _check_size(shapes, done / total, available)
    return {
        "starts": _starts([3 * height * width for height, width in shapes]),
        "shapes": np.array(shapes, np.int64),
        "tags": np.array([tag for labels in picture_labels for tag in labels], np.int64),
        "labels": np.array([label for labels in picture_labels for label in labels.values()], np.float32),
        "tag_starts": _starts([len(labels) for labels in picture_labels]),
        "shard_starts": _starts(shard_sizes),
    }


def _check_size(shapes: list[tuple[int, int]], share_done: float, available: int) -> None:
    """Raise if all pictures, estimated from those decoded so far, need more than is available."""
    if len(shapes) < MIN_PICTURES:
        return
    needed = sum(3 * height * width for height, width in shapes) / share_done
    if needed > MAX_SHARE * available:
        raise InputError(
            f"--cache: the decoded pictures would take about {needed / 2**30:.1f} GiB of {available / 2**30:.1f} available: "
            "leave the option out, or try the other of memory and disk"
        )


def _starts(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
