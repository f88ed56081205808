"""The tf.data pipeline of training, from shards to batches.

It decodes pictures with `dataset.images`, as evaluation (`ordered_batches`) and prediction do. Pillow releases Python's
global lock while it decodes and resizes, so that tf.data's threads use all cores.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from dataset import images, records
from dataset.augmentation import DRAWS, Augmentation
from dataset.batches import Batches, call_when_ready, without_autograph
from dataset.cache import Cache
from dataset.frozen_features import FrozenFeatures
from dataset.implications import raised
from dataset.soft_targets import SoftTargets

BLOCK_RECORDS = 4096  # records shuffled together; two blocks are in memory, about 300 MB at 320 px
INTERLEAVED_SHARDS = 16
MIXUP = 1  # distinguishes the random numbers of MixUp from the others of a batch
PREFETCHED_BATCHES = 4
# Batches that are decoded at once: threads for all cores while others wait for Python's lock. TensorFlow's own choice,
# AUTOTUNE, often settles on one batch, which reads a quarter to a third fewer pictures a second on two cores.
DECODED_BATCHES = (os.cpu_count() or 1) + 2


@dataclass(frozen=True)
class TrainingData:
    """What training reads, and how it is batched and augmented.

    Attributes:
        folder: the data folder.
        num_tags: number of rows of its `tags.csv`.
        image_size, resize: see `images.fit`.
        batch_size: images in a batch; an incomplete last batch of an epoch is dropped.
        augmentation: random changes of the pictures.
        seed: determines, with the number of the epoch, the order of the pictures and their augmentation.
        steps_per_epoch: batches in an epoch; None for all complete ones.
        cache: the decoded pictures of this folder, or None; the batches are the same.
        soft_targets: a teacher's probabilities for this folder, or None.
        features: the outputs of the frozen part of the trunk, which replace the pictures, or None.
        implied: for each tag the indices of the tags that it implies, whose labels are added; None: labels stay as they are.
        part, parts: only this part, from 0, of so many equal ones of each batch is returned.
    """

    folder: Path
    num_tags: int
    image_size: int
    resize: str
    batch_size: int
    augmentation: Augmentation
    seed: int = 0
    steps_per_epoch: int | None = None
    cache: Cache | None = None
    soft_targets: SoftTargets | None = None
    features: FrozenFeatures | None = None
    implied: list[list[int]] | None = None
    part: int = 0
    parts: int = 1


def training_batches(
    data: TrainingData,
    first_epoch: int,
    end_epoch: int,
    first_step: int = 0,
    when_ready: Callable[[int], None] | None = None,
) -> Batches:
    """Return one stream of the batches of the epochs `first_epoch` to `end_epoch - 1`.

    A run that starts at a later step gets the batches of an uninterrupted run: nothing depends on earlier epochs.

    Args:
        data: what is read, and how.
        first_epoch, end_epoch: the epochs, counted from 0.
        first_step: number of batches of the first epoch to skip, without decoding them.
        when_ready: called with the number of each batch, from 0 and in order, when the batch is ready.

    Returns:
        Batches of uint8 (batch, image_size, image_size, 3), or with features float16 (batch, …), and of float32
        (batch, num_tags), the labels; with soft targets (batch, 2, num_tags), the labels and the soft targets. Of a batch in
        several parts, the part has batch_size / parts pictures, and is what it would be in the whole batch.
    """
    order = tf.data.Dataset.range(first_epoch, end_epoch).flat_map(
        lambda epoch: epoch_order(data, epoch, tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0))
    )
    batches = order.map(partial(load_batch, data), num_parallel_calls=DECODED_BATCHES)
    if when_ready:
        batches = call_when_ready(batches, when_ready)
    return Batches(batches.prefetch(PREFETCHED_BATCHES), data.folder, "train")


@without_autograph
def epoch_order(data: TrainingData, epoch: tf.Tensor, first_step: tf.Tensor) -> tf.data.Dataset:
    """Return the shuffled records of an epoch, or their numbers in the cache, in batches.

    Two shuffles depend only on the seed and the epoch: of the shards, which are read interleaved, and of the records in
    blocks of `BLOCK_RECORDS`.

    Returns:
        A dataset of (epoch, step, records or numbers (batch,)).
    """
    seed = tf.constant(data.seed, tf.int64)
    paths = [str(path) for path in records.shard_paths(data.folder, "train")]
    shards = tf.data.Dataset.from_tensor_slices(_shuffle(tf.range(len(paths)), [seed, epoch]))
    examples = shards.interleave(partial(open_shard, data, paths), cycle_length=INTERLEAVED_SHARDS, num_parallel_calls=2)
    blocks = examples.batch(BLOCK_RECORDS).enumerate()
    blocks = blocks.map(lambda number, block: _shuffle(block, [seed + 1 + number, epoch]))
    batches = blocks.prefetch(1).rebatch(data.batch_size, drop_remainder=True)
    if data.steps_per_epoch:
        batches = batches.take(data.steps_per_epoch)
        batches = batches.apply(tf.data.experimental.assert_cardinality(data.steps_per_epoch))
    return batches.enumerate().skip(first_step).map(lambda step, batch: (epoch, step, batch))


@without_autograph
def open_shard(data: TrainingData, paths: list[str], shard: tf.Tensor) -> tf.data.Dataset:
    """Return the records of a shard, or their numbers in the cache."""
    if data.cache:
        starts = data.cache.shard_starts
        return tf.data.Dataset.range(tf.gather(starts, shard), tf.gather(starts, shard + 1))
    return tf.data.TFRecordDataset(tf.gather(paths, shard))


@without_autograph
def load_batch(data: TrainingData, epoch: tf.Tensor, step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return pixels or features, and labels, of a part of a batch of records or of their numbers in the cache."""
    cache, targets, features = data.cache, data.soft_targets, data.features
    part = partial(_rows_of_part, data)
    rows, own, partner, share = tf.numpy_function(part, [epoch, step], (tf.int64, tf.int64, tf.int64, tf.float32))
    size = data.batch_size // data.parts
    own, partner, share = (tf.ensure_shape(values, size) for values in (own, partner, share))
    batch = tf.gather(batch, tf.ensure_shape(rows, (None,)))
    if cache:
        pictures, keys = batch, batch
        labels = tf.numpy_function(lambda numbers: cache.label_matrix(numbers, data.num_tags), [batch], tf.float32)
    else:
        examples = records.decode_batch(batch, data.num_tags)
        pictures, keys = examples["image"], examples["id"]
        labels = examples["labels"]
    if features:
        inputs = tf.numpy_function(partial(load_features, data), [keys, epoch, step, rows], tf.float16)
        shape = features.values.shape[2:]
    else:
        inputs = tf.numpy_function(partial(load_pixels, data), [pictures, epoch, step, rows], tf.uint8)
        shape = (data.image_size, data.image_size, 3)
    inputs = tf.ensure_shape(inputs, (None, *shape))
    if data.implied:
        labels = tf.numpy_function(partial(raised, implied=data.implied), [labels], tf.float32)
    if targets:
        look_up = targets.by_positions if cache else targets.by_ids
        labels = tf.stack([labels, tf.numpy_function(look_up, [keys], tf.float32)], axis=1)  # (rows, 2, num_tags)
    labels = tf.ensure_shape(labels, (None, 2, data.num_tags) if targets else (None, data.num_tags))
    if data.augmentation.mixup:
        inputs, labels = (_mixed(values, own, partner, share) for values in (inputs, labels))
    return tf.ensure_shape(inputs, (size, *inputs.shape[1:])), tf.ensure_shape(labels, (size, *labels.shape[1:]))


def _rows_of_part(data: TrainingData, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return which pictures of a batch its part needs, and how MixUp mixes them.

    Returns:
        The rows of the batch that are read: those of the part, and those that they are mixed with, int64 (rows,).
        Where among these rows each picture of the part is, and where the one that it is mixed with, int64 (part,).
        Each picture's own share in the mixture, float32 (part,).
    """
    size = data.batch_size // data.parts
    part = np.arange(data.part * size, (data.part + 1) * size)
    share, partner = np.ones(data.batch_size), np.arange(data.batch_size)
    if alpha := data.augmentation.mixup:
        generator = np.random.default_rng([data.seed, epoch, step, MIXUP])
        share, partner = generator.beta(alpha, alpha, data.batch_size), generator.permutation(data.batch_size)
    rows = np.union1d(part, partner[part])
    return rows, np.searchsorted(rows, part), np.searchsorted(rows, partner[part]), share[part].astype(np.float32)


def load_features(data: TrainingData, keys: np.ndarray, epoch: int, step: int, rows: np.ndarray) -> np.ndarray:
    """Return the features of rows of a batch, of the same mirror images as `load_pixels` would make: float16 (rows, …).

    Args:
        data: what is read, and how.
        keys: ids of the pictures (rows,), or their numbers in the cache.
        epoch, step, rows: as for `load_pixels`.
    """
    assert data.features
    look_up = data.features.by_positions if data.cache else data.features.by_ids
    return look_up(keys, data.augmentation.mirrored(_draws(data, epoch, step)[rows]))


def _draws(data: TrainingData, epoch: int, step: int) -> np.ndarray:
    """Return the random numbers of the augmentation of a batch, (batch, DRAWS)."""
    return np.random.default_rng([data.seed, epoch, step]).uniform(-1, 1, (data.batch_size, DRAWS))


def _mixed(values: tf.Tensor, own: tf.Tensor, partner: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Return weighted averages of rows of a tensor (rows, …) with other rows of it, in the same number format: (part, …)."""
    rows = tf.cast(values, tf.float32)
    share = tf.reshape(share, [-1] + [1] * (rows.shape.rank - 1))  # (part, 1, …)
    mixed = share * tf.gather(rows, own) + (1 - share) * tf.gather(rows, partner)
    return tf.cast(tf.round(mixed) if values.dtype.is_integer else mixed, values.dtype)


def load_pixels(data: TrainingData, pictures: np.ndarray, epoch: int, step: int, rows: np.ndarray) -> np.ndarray:
    """Decode and augment rows of a batch.

    Args:
        data: what is read, and how.
        pictures: encoded pictures (rows,), or their numbers in the cache.
        epoch, step: determine, with the seed, the random numbers of the augmentation.
        rows: the positions of the pictures in the batch (rows,).

    Returns:
        uint8 (rows, image_size, image_size, 3).
    """
    draws = _draws(data, epoch, step)[rows]
    if data.cache and data.cache.fitted:
        return data.augmentation.mirror(data.cache.fitted_pictures(pictures, data.image_size), draws)
    pixels = np.empty((len(pictures), data.image_size, data.image_size, 3), np.uint8)
    for index, picture in enumerate(pictures):
        if data.augmentation.only_mirrors and not data.cache:
            pixels[index] = images.network_input(picture, data.image_size, data.resize)
            continue
        image = data.cache.picture(picture) if data.cache else images.decode_to_fit(picture, data.image_size, data.resize)
        pixels[index] = data.augmentation.apply(image, data.image_size, data.resize, draws[index])
    return data.augmentation.mirror(pixels, draws)


def _shuffle(values, seed: list):
    """Shuffle values by a seed of two integers."""
    return tf.random.experimental.stateless_shuffle(values, seed=tf.stack(seed))
