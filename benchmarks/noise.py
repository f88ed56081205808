"""The noise layer's exact expectation beside an estimate from samples, forward and backward.

    KERAS_BACKEND=jax python -m benchmarks noise

Result: noise.json.
"""

import argparse

import keras
import numpy as np

from benchmarks.measuring import side_by_side
from benchmarks.reporting import Table, as_json, report
from heteroscedastic import HeteroscedasticSigmoid
from model import devices


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sizes of the layer and the batch."""
    parser.add_argument("--tags", type=int, default=1024, help="outputs of the layer (default: 1024)")
    parser.add_argument("--features", type=int, default=512, help="inputs of the layer (default: 512)")
    parser.add_argument("--factors", type=int, default=0, help="rank of the covariance (default: 0)")
    parser.add_argument("--batch-size", type=int, default=12, help="images a step (default: 12)")
    parser.add_argument("--samples", type=int, default=1000, help="Monte Carlo samples (default: 1000, as published)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: 5)")


def measure(options: argparse.Namespace) -> None:
    """Time a training step of the layer alone, with and without samples."""
    random = np.random.default_rng(0)
    features = random.normal(size=(options.batch_size, options.features)).astype(np.float32)
    labels = (random.random((options.batch_size, options.tags)) < 0.02).astype(np.float32)

    def step(layer):
        inputs = keras.Input((options.features,))
        network = keras.Model(inputs, layer(inputs))
        network.compile(optimizer=keras.optimizers.SGD(0.01), loss={"logit": _cross_entropy}, jit_compile=True)
        return lambda: network.train_on_batch(features, {"logit": labels})

    steps = {
        "dense, no noise": step(_Dense(options.tags)),
        "exact expectation": step(HeteroscedasticSigmoid(options.tags, options.factors)),
        f"{options.samples:,} samples": step(
            HeteroscedasticSigmoid(options.tags, options.factors, num_samples=options.samples, seed=0)
        ),
    }
    print(f"{devices.describe()}, {options.tags:,} tags, {options.factors} factors, batch {options.batch_size}")
    figures = {"options": as_json(options), "seconds": side_by_side(steps, options.rounds)}
    report("noise", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result."""
    seconds = figures["seconds"]
    slowest = max(seconds.values())
    rows = [[name, f"{1000 * value:,.2f}", f"{slowest / value:,.1f}"] for name, value in seconds.items()]
    return Table(["forward and backward", "ms", "times faster than samples"], rows)


def _cross_entropy(labels, logits):
    return keras.ops.mean(keras.ops.softplus(logits) - labels * logits, axis=-1)


class _Dense(keras.layers.Layer):
    """A dense layer with the noise layer's outputs."""

    def __init__(self, units: int):
        super().__init__()
        self.dense = keras.layers.Dense(units)

    def call(self, inputs):
        return {"logit": self.dense(inputs)}
