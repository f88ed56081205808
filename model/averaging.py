"""The running average of the weights, put in their place for a while."""

import contextlib
from collections.abc import Iterator

import keras

from model.plan import Plan

MEASURED_STEPS = 30  # 0.9 ** 30: what normalisation remembers of the statistics before is 4 %


def has_average(network: keras.Model) -> bool:
    """Whether a network's optimizer averages its weights."""
    return bool(_optimizer(network).average)


@contextlib.contextmanager
def averaged(plan: Plan, network: keras.Model) -> Iterator[None]:
    """Within it, a network has the average of its weights, and normalises by statistics that fit them.

    Those statistics are not averages of the statistics of the weights on the way: they are measured again, on the first
    training batches (Izmailov et al., arXiv 1803.05407).
    """
    kept = network.get_weights()
    for variable, average in zip(network.trainable_variables, _optimizer(network).averages, strict=True):
        variable.assign(keras.ops.copy(average))  # JAX gives the memory of what a step has used to the next
    for pixels, _ in plan.batches(0, 0, 1).take(MEASURED_STEPS).as_numpy_iterator():
        network(pixels, training=True)
    try:
        yield
    finally:
        network.set_weights(kept)


def _optimizer(network: keras.Model):
    return getattr(network.optimizer, "inner_optimizer", network.optimizer)
