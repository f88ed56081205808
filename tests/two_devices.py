"""Run with KERAS_BACKEND=jax and two virtual CPU devices: one device, two devices, and an accumulated gradient.

Prints a line of JSON: the losses of a few steps of each, and how far their weights are apart at the end.
"""

import json
import sys
from dataclasses import replace

import keras
import numpy as np

from model import devices
from model.config import Config
from model.schedule import CycledSGD
from model.tagger import TaggerNetwork

STEPS, BATCH, SIDE, TAGS = 3, 8, 32, 5


def train(frozen_norms: bool = False, steps_per_update: int = 1) -> tuple[list[float], list[np.ndarray]]:
    """Losses and weights of a small network after a few updates, clipped."""
    keras.utils.set_random_seed(1)
    network = TaggerNetwork(TAGS, replace(Config(), image_size=SIDE).as_dict())
    for layer in network.layers:
        if frozen_norms and isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    optimizer = CycledSGD(
        0.1, 0.9, global_clipnorm=0.5, gradient_accumulation_steps=steps_per_update if steps_per_update > 1 else None
    )
    network.compile(optimizer=optimizer)
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (STEPS * BATCH, SIDE, SIDE, 3), np.uint8)
    labels = (random.random((STEPS * BATCH, TAGS)) < 0.3).astype(np.float32)
    history = network.fit(pixels, labels, BATCH // steps_per_update, epochs=2, shuffle=False, verbose=0)
    return history.history["loss"], [keras.ops.convert_to_numpy(weight) for weight in network.weights]


def apart(weights: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The largest difference."""
    return max(float(np.abs(ours - theirs).max()) for ours, theirs in zip(weights, others, strict=True))


def main() -> None:
    """Train four times."""
    one, one_weights = train()
    frozen, frozen_weights = train(frozen_norms=True)
    added_up, added_up_weights = train(frozen_norms=True, steps_per_update=2)
    devices.share(2)
    two, two_weights = train()
    found = {
        "one": one,
        "two": two,
        "devices_apart": apart(one_weights, two_weights),
        "frozen": frozen,
        "added_up": added_up,
        "accumulation_apart": apart(frozen_weights, added_up_weights),
        "name": devices.name(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
