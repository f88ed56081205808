"""The training pictures decoded once and for all: in memory, or in a file that is mapped into it.

What is kept is what `images.decode_to_fit` gives, before augmentation; or, where augmentation only mirrors, what the
network sees. It takes many times the room of the JPEGs, and saves their decoding in every epoch but the first.
"""

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from command import InputError
from dataset import images, records

WHERE = ("none", "memory", "disk")
SHARE = 0.6  # of the memory, or the room on the disk, that is there: more is refused
SAMPLED = 64  # pictures from which the size is estimated
AT_ONCE = 256


@dataclass(frozen=True)
class Cache:
    """Decoded pictures and their tags, by number: in the order of the shards and of the records in them.

    Attributes:
        fitted: whether the pictures are squares, as the network sees them.
        pixels: uint8, all pictures one after the other.
        starts: int64 (pictures + 1,), where each begins.
        shapes: int64 (pictures, 2), height and width.
        tags, labels, tag_starts: likewise the tags' indices, and their labels, float32.
        shard_starts: int64 (shards + 1,), the number of each shard's first picture.
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
        """A decoded picture."""
        height, width = self.shapes[number]
        return Image.fromarray(self.pixels[self.starts[number] : self.starts[number + 1]].reshape(height, width, 3))

    def squares(self, numbers: np.ndarray, image_size: int) -> np.ndarray:
        """uint8 (pictures, image_size, image_size, 3): fitted pictures."""
        return self.pixels.reshape(-1, image_size, image_size, 3)[numbers]

    def labels_of(self, numbers: np.ndarray, num_tags: int) -> np.ndarray:
        """float32 (pictures, num_tags): the label of each tag."""
        labels = np.zeros((len(numbers), num_tags), np.float32)
        counts = self.tag_starts[numbers + 1] - self.tag_starts[numbers]
        rows = np.repeat(np.arange(len(numbers)), counts)
        places = np.arange(len(rows)) + np.repeat(self.tag_starts[numbers] - (np.cumsum(counts) - counts), counts)
        labels[rows, self.tags[places]] = self.labels[places]
        return labels


def open_cache(folder: Path, where: str, image_size: int, resize: str, fitted: bool, available_bytes: int) -> Cache:
    """Decode the training split, or map the file in which that was done before.

    Args:
        folder: the data folder; the file goes into its `.cache/`.
        where: `memory` or `disk`.
        image_size, resize: as for `images.fit`.
        fitted: whether to keep them as the network sees them.
        available_bytes: of memory.

    Raises:
        InputError: it does not fit.
    """
    paths = records.shard_paths(folder, "train")
    home = folder / ".cache"
    available = available_bytes if where == "memory" else shutil.disk_usage(folder).free
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    name = hashlib.md5(repr((facts, image_size, resize, fitted, "labels")).encode()).hexdigest()  # earlier files have none
    pixels_path, index_path = home / f"{name}.pixels", home / f"{name}.npz"
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
        index = _decode_all(paths, decode, available, pixels.extend)
        return Cache(fitted, np.frombuffer(pixels, np.uint8), **index)
    home.mkdir(exist_ok=True)
    partial = pixels_path.with_suffix(".partial")
    with partial.open("wb") as file:
        index = _decode_all(paths, decode, available, file.write)
    partial.replace(pixels_path)
    partial = index_path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **index)
    partial.replace(index_path)
    return Cache(fitted, np.memmap(pixels_path, np.uint8, "r"), **index)


def _decode_all(paths: list[Path], decode: Callable, available: int, write: Callable) -> dict[str, np.ndarray]:
    """Hand every picture's pixels to `write`, in order; the index of them."""
    import tensorflow as tf

    shapes, labels, shard_sizes = [], [], []
    total = sum(path.stat().st_size for path in paths)
    done = 0
    with ThreadPoolExecutor() as pool, tqdm(unit="B", unit_scale=True, total=total, desc="decoding", leave=False) as bar:
        for path in paths:
            shard_sizes.append(0)
            for batch in tf.data.TFRecordDataset(str(path)).batch(AT_ONCE).as_numpy_iterator():
                examples = [tf.train.Example.FromString(record).features.feature for record in batch]
                encoded = [example["image"].bytes_list.value[0] for example in examples]
                for array in pool.map(decode, encoded):
                    write(array.tobytes())
                    shapes.append(array.shape[:2])
                labels += map(records.labels_of, examples)
                shard_sizes[-1] += len(batch)
                done += sum(map(len, batch))
                bar.update(sum(map(len, batch)))
                _check_room(shapes, done / total, available)
    return {
        "starts": _starts([3 * height * width for height, width in shapes]),
        "shapes": np.array(shapes, np.int64),
        "tags": np.array([tag for of_picture in labels for tag in of_picture], np.int64),
        "labels": np.array([label for of_picture in labels for label in of_picture.values()], np.float32),
        "tag_starts": _starts([len(of_picture) for of_picture in labels]),
        "shard_starts": _starts(shard_sizes),
    }


def _check_room(shapes: list[tuple[int, int]], share_done: float, available: int) -> None:
    if len(shapes) < SAMPLED:
        return
    needed = sum(3 * height * width for height, width in shapes) / share_done
    if needed > SHARE * available:
        raise InputError(
            f"--cache: the decoded pictures would take about {needed / 2**30:.1f} GiB of {available / 2**30:.1f} available: "
            "leave it out, or try the other of memory and disk"
        )


def _starts(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
