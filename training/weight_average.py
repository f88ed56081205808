"""Use of the exponential moving average of the weights (`--ema-decay`) in place of the weights."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

from training.plan import Plan

STATISTICS_STEPS = 30  # after so many steps, the old batch-norm statistics have a weight of 0.9 ** 30, which is 4 %


def has_average(network: keras.Model) -> bool:
    """Return whether the optimizer of a network averages its weights."""
    return bool(_optimizer(network).ema_decay)


@contextlib.contextmanager
def averaged(plan: Plan, network: keras.Model, trained: keras.Model) -> Iterator[None]:
    """Replace the weights of a network by the average of those of a trained network while the context lasts.

    The average of the batch-norm statistics would not fit these weights. The statistics are therefore computed again from
    the first training batches (Izmailov et al., arXiv 1803.05407).

    Args:
        plan: the plan of the run.
        network: the trained network, or a copy of it that computes on this process' own devices.
        trained: the trained network, whose optimizer holds the average.
    """
    weights = network.get_weights()
    for variable, average in zip(network.trainable_variables, _optimizer(trained).averages, strict=True):
        # A copy, because JAX uses the memory of the optimizer's variables again.
        variable.assign(np.array(keras.ops.convert_to_numpy(average)))
    for pixels, _ in plan.batches(0, 0, 1, whole=True).take(STATISTICS_STEPS):
        network(pixels, training=True)
    try:
        yield
    finally:
        network.set_weights(weights)


def _optimizer(network: keras.Model):
    return getattr(network.optimizer, "inner_optimizer", network.optimizer)
