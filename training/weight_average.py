"""Use of the exponential moving average of the weights (`--ema-decay`) in place of the weights."""

import contextlib
from collections.abc import Iterator

import keras

from training.plan import Plan

STATISTICS_STEPS = 30  # after so many steps, the old batch-norm statistics have a weight of 0.9 ** 30, which is 4 %


def has_average(network: keras.Model) -> bool:
    """Return whether the optimizer of a network averages its weights."""
    return bool(_optimizer(network).ema_decay)


@contextlib.contextmanager
def averaged(plan: Plan, network: keras.Model) -> Iterator[None]:
    """Replace the weights of a network by their average while the context lasts.

    The average of the batch-norm statistics would not fit these weights. The statistics are therefore computed again from
    the first training batches (Izmailov et al., arXiv 1803.05407).
    """
    weights = network.get_weights()
    for variable, average in zip(network.trainable_variables, _optimizer(network).averages, strict=True):
        variable.assign(keras.ops.copy(average))  # a copy: JAX reuses the memory of the optimizer's variables
    for pixels, _ in plan.batches(0, 0, 1).take(STATISTICS_STEPS):
        network(pixels, training=True)
    try:
        yield
    finally:
        network.set_weights(weights)


def _optimizer(network: keras.Model):
    return getattr(network.optimizer, "inner_optimizer", network.optimizer)
