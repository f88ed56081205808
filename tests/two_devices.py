"""Train on one device and on two, and print the losses, and how far the weights are apart at the end, as JSON.

KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=2 PYTHONPATH=. python tests/two_devices.py
"""

import json
import sys

import keras
import numpy as np

from model import devices
from model.config import Config
from model.network import TaggerNetwork
from training.optimizers import CycledSGD

STEPS, BATCH, SIDE, TAGS = 3, 8, 32, 5


def train() -> tuple[list[float], list[np.ndarray]]:
    """Losses and weights of a small network after a few updates, clipped."""
    keras.utils.set_random_seed(1)
    network = TaggerNetwork(TAGS, Config(preset="test", image_size=SIDE).as_dict())
    network.compile(optimizer=CycledSGD(0.1, 0.9, global_clipnorm=0.5))
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (STEPS * BATCH, SIDE, SIDE, 3), np.uint8)
    labels = (random.random((STEPS * BATCH, TAGS)) < 0.3).astype(np.float32)
    history = network.fit(pixels, labels, BATCH, epochs=2, shuffle=False, verbose=0)
    return history.history["loss"], [keras.ops.convert_to_numpy(weight) for weight in network.weights]


def main() -> None:
    """Train on one device and on two."""
    losses, weights = train()
    devices.distribute(2)
    shared_losses, shared_weights = train()
    apart = max(float(np.abs(one - two).max()) for one, two in zip(weights, shared_weights, strict=True))
    json.dump({"name": devices.describe(), "losses": [losses, shared_losses], "apart": apart}, sys.stdout)


if __name__ == "__main__":
    main()
