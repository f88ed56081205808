"""Shards ▶ batches: the tf.data pipelines of training and evaluation.

Both decode pictures with `dataset.images`, as prediction does. Pillow frees Python's lock while it decodes and resizes, so
tf.data's threads run it on all cores.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from command import InputError
from dataset import images, records
from dataset.cache import Cache
from dataset.soft_targets import SoftTargets

BLOCK_RECORDS = 4096  # encoded pictures shuffled at once; two blocks are held: about 300 MB at 320 px
SHARDS_AT_ONCE = 16
READY_BATCHES = 4
DRAWS = 9  # random numbers for a picture; always all, so that one option does not change another's
# What TensorFlow raises where a shard is damaged.
DAMAGE = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,  # fewer pictures than there should be
    tf.errors.InvalidArgumentError,
    tf.errors.UnknownError,
)


@dataclass(frozen=True)
class Augmentation:
    """Random changes to a training picture, each up to the given extent.

    Attributes:
        flip, vertical_flip: mirror half of the pictures.
        shift: translation, as a share of the side.
        zoom: change of scale, as a share.
        colour: change of brightness, contrast and saturation, as a share.
        rotation: in degrees.
    """

    flip: bool = True
    vertical_flip: bool = False
    shift: float = 0.0
    zoom: float = 0.0
    colour: float = 0.0
    rotation: float = 0.0

    @property
    def only_mirrors(self) -> bool:
        """Whether a picture's pixels stay as they are, but for their places."""
        return not (self.shift or self.zoom or self.colour or self.rotation)

    def draw(self, image: Image.Image, image_size: int, resize: str, draws: np.ndarray) -> np.ndarray:
        """A version of a picture, before it is mirrored: uint8 (image_size, image_size, 3).

        Args:
            image: as `images.decode_to_fit` gives it.
            image_size, resize: as for `images.fit`.
            draws: (DRAWS,) from -1 to 1.
        """
        if self.rotation:
            angle = self.rotation * draws[2]
            image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=images.WHITE)
        scale = (1 + self.zoom) ** draws[3]
        image = images.fit(image, image_size, resize, scale, (self.shift * draws[4], self.shift * draws[5]))
        if self.colour:
            image = images.recolour(image, *(1 + self.colour * draws[6:]))
        return np.asarray(image)

    def mirror(self, pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Mirror, in place, pictures (batch, height, width, 3) as their draws (batch, DRAWS) say."""
        for applies, draw, axis in ((self.flip, 0, 2), (self.vertical_flip, 1, 1)):
            if applies:
                chosen = draws[:, draw] > 0
                pixels[chosen] = np.flip(pixels[chosen], axis)
        return pixels


def training_batches(
    folder: Path,
    num_tags: int,
    image_size: int,
    resize: str,
    batch_size: int,
    augmentation: Augmentation,
    seed: int,
    first_epoch: int,
    epochs: int,
    first_step: int = 0,
    steps_per_epoch: int | None = None,
    when_ready: Callable[[int], None] | None = None,
    cache: Cache | None = None,
    soft_targets: SoftTargets | None = None,
) -> tf.data.Dataset:
    """Batches of the training split for epochs `first_epoch` to `epochs - 1`, in one stream.

    Order and augmentation depend on the seed and the epoch's number only, so that a run that starts at a later step sees
    what an uninterrupted one would. The last images of an epoch that do not fill a batch are left out of it.

    Args:
        first_step: batches of the first epoch to pass over, before they are decoded.
        steps_per_epoch: batches an epoch; all whole ones if None.
        when_ready: called in order with the number of each batch, from 0, when it could be taken.
        cache: of this folder, where the pictures are decoded already; the batches are the same.
        soft_targets: of this folder.

    Returns:
        A dataset of uint8 (batch, image_size, image_size, 3) and float32 (batch, num_tags), the labels; with soft targets
        (batch, 2, num_tags), the labels and the targets.
    """
    paths = [str(path) for path in records.shard_paths(folder, "train")]
    seed_tensor = tf.constant(seed, tf.int64)

    # Shuffled twice, by numbers that depend on seed and epoch alone: the order of the shards, which are read many at a
    # time, and then what they give, in blocks. What they give is records or, with a cache, the pictures' numbers in it.
    def one_epoch(epoch):
        shards = tf.data.Dataset.from_tensor_slices(_shuffle(tf.range(len(paths)), [seed_tensor, epoch]))
        found = shards.interleave(open_shard, cycle_length=SHARDS_AT_ONCE, num_parallel_calls=2)
        blocks = found.batch(BLOCK_RECORDS).enumerate()
        blocks = blocks.map(lambda block, found: _shuffle(found, [seed_tensor + 1 + block, epoch]))
        batches = blocks.prefetch(1).rebatch(batch_size, drop_remainder=True)
        if steps_per_epoch:
            batches = batches.take(steps_per_epoch).apply(tf.data.experimental.assert_cardinality(steps_per_epoch))
        batches = batches.enumerate().skip(tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0))
        return batches.map(lambda step, found: (epoch, step, found))

    def open_shard(shard):
        if cache:
            return tf.data.Dataset.range(tf.gather(cache.shard_starts, shard), tf.gather(cache.shard_starts, shard + 1))
        return tf.data.TFRecordDataset(tf.gather(paths, shard))

    def draw(epoch, step, found):
        if cache:
            names, targets_of = found, soft_targets and soft_targets.of_numbers
            labels = tf.numpy_function(lambda numbers: cache.labels_of(numbers, num_tags), [found], tf.float32)
        else:
            example = records.decode_batch(found, num_tags)
            names, targets_of = example["id"], soft_targets and soft_targets.of_ids
            found, labels = example["image"], example["labels"]
        pixels = tf.numpy_function(draw_all, [found, epoch, step], tf.uint8)
        labels = tf.ensure_shape(labels, (batch_size, num_tags))
        if soft_targets:
            targets = tf.ensure_shape(tf.numpy_function(targets_of, [names], tf.float32), (batch_size, num_tags))
            labels = tf.stack([labels, targets], axis=1)
        return tf.ensure_shape(pixels, (batch_size, image_size, image_size, 3)), labels

    def draw_all(found, epoch, step):
        draws = np.random.default_rng([seed, epoch, step]).uniform(-1, 1, (batch_size, DRAWS))
        if cache and cache.fitted:
            return augmentation.mirror(cache.squares(found, image_size), draws)
        pixels = np.empty((batch_size, image_size, image_size, 3), np.uint8)
        for index, picture in enumerate(found):
            image = cache.picture(picture) if cache else images.decode_to_fit(picture, image_size, resize)
            pixels[index] = augmentation.draw(image, image_size, resize, draws[index])
        return augmentation.mirror(pixels, draws)

    batches = tf.data.Dataset.range(first_epoch, epochs).flat_map(one_epoch)
    batches = batches.map(draw, num_parallel_calls=tf.data.AUTOTUNE)
    if when_ready:
        batches = _announced(batches, when_ready)
    return batches.prefetch(READY_BATCHES)


def _announced(batches: tf.data.Dataset, when_ready: Callable[[int], None]) -> tf.data.Dataset:
    """The same batches, each announced by its number, in order, as it comes."""

    def note(index, batch):
        def tell(index):
            when_ready(int(index))
            return np.int64(0)

        with tf.control_dependencies([tf.numpy_function(tell, [index], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    return batches.enumerate().map(note)


def _shuffle(values, seed: list):
    return tf.random.experimental.stateless_shuffle(values, seed=tf.stack(seed))


@contextlib.contextmanager
def damage_named(folder: Path, split: str):
    """Name the shard or the post that cannot be read where TensorFlow raises pages about it.

    Raises:
        InputError: instead of TensorFlow's errors of damaged shards.
    """
    try:
        yield
    except (images.ImageError, *DAMAGE):
        if found := _damage(folder, split):
            raise InputError(f"{found}: delete {folder} and download it again") from None
        raise


def _damage(folder: Path, split: str) -> str:
    """What is wrong with a split, in words; empty where nothing is found.

    Raises:
        InputError: a shard cannot be read, by name.
    """
    num_tags = len(records.read_tags(folder / "tags.csv"))
    pictures = 0
    for record in records.read(folder, split):
        pictures += 1
        try:
            images.decode(record.image)
        except images.ImageError as error:
            return f"the picture of post {record.id} in the {split} shards cannot be read ({error})"
        if max(record.labels, default=0) >= num_tags:
            return f"post {record.id} in the {split} shards has other tags than the {num_tags:,} of tags.csv"
    expected = records.read_json(folder / "manifest.json")["splits"][split]["written"]
    if pictures != expected:
        return f"the {split} shards of {folder} hold {pictures:,} pictures, and its manifest says {expected:,}"
    return ""


def evaluation_batches(
    folder: Path, split: str, num_tags: int, image_size: int, resize: str, batch_size: int
) -> tf.data.Dataset:
    """A split once, in order, without augmentation: finite.

    Returns:
        A dataset of dictionaries: `pixels` uint8 (batch, image_size, image_size, 3), `labels` float32 (batch, num_tags),
        `id` (batch,) and `image`, the encoded pictures (batch,).

    Raises:
        InputError: the folder has no shard of the split.
    """
    paths = [str(path) for path in records.shard_paths(folder, split)]
    if not paths:
        raise InputError(f"{folder} has no {split} shards: expected a folder made by download.py")

    def fit(encoded):
        example = records.decode_batch(encoded, num_tags)
        pixels = tf.numpy_function(fit_all, [example["image"]], tf.uint8)
        return example | {"pixels": tf.ensure_shape(pixels, (None, image_size, image_size, 3))}

    def fit_all(encoded):
        return np.stack([images.network_input(picture, image_size, resize) for picture in encoded])

    dataset = tf.data.TFRecordDataset(paths).batch(batch_size).map(fit, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)
