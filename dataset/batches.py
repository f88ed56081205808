"""A stream of batches, whose errors name the damaged file, and which tells when each batch is ready."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import tensorflow as tf

from dataset.damage import explain_damage

# Otherwise, TensorFlow takes a second to look for loops and conditions on tensors in the functions of a dataset.
without_autograph = tf.autograph.experimental.do_not_convert


class Batches:
    """Batches of a split; an error while reading them names the damaged shard or post.

    Iteration yields NumPy arrays. Keras' `fit` needs the dataset itself: `with batches as dataset: network.fit(dataset)`.

    Args:
        dataset: the batches.
        folder, split: the data folder and the split that they are read from.
    """

    def __init__(self, dataset: tf.data.Dataset, folder: Path, split: str):
        self.dataset, self.folder, self.split = dataset, folder, split
        self._damage = ExitStack()

    def __iter__(self) -> Iterator:
        with explain_damage(self.folder, self.split):
            yield from self.dataset.as_numpy_iterator()

    def __enter__(self) -> tf.data.Dataset:
        self._damage.enter_context(explain_damage(self.folder, self.split))
        return self.dataset

    def __exit__(self, *error) -> bool | None:
        return self._damage.__exit__(*error)

    def take(self, number: int) -> "Batches":
        """Return only the first batches."""
        return Batches(self.dataset.take(number), self.folder, self.split)


def call_when_ready(batches: tf.data.Dataset, when_ready: Callable[[int], None]) -> tf.data.Dataset:
    """Return the same batches, and call a function with the number of each, in order, when it is ready."""

    @without_autograph
    def add_call(index, batch):
        def call(index):
            when_ready(int(index))
            return np.int64(0)

        with tf.control_dependencies([tf.numpy_function(call, [index], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    return batches.enumerate().map(add_call)
