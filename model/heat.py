"""Where in a picture a tag was seen.

Gradient times activation on the feature map that the head reads: how much each position speaks for the tag. Of the ways
compared by `bench.py pointing`, which asks them in which of four pictures put together the tag is, it is right most often;
the attention's own weights are hardly better than chance, for they serve all tags at once.
"""

import functools

import keras
import numpy as np
from PIL import Image

from command import InputError

SIDE = 512  # of the picture that `overlay` draws, in pixels
STRENGTH = 0.65  # of the colour where the map is highest


def heat_map(network: keras.Model, pixels: np.ndarray, tag: int | np.ndarray) -> np.ndarray:
    """How much each position of a picture speaks for a tag.

    Args:
        network: a `model.tagger.TaggerNetwork`.
        pixels: uint8 (batch, image_size, image_size, 3).
        tag: its index, or one for each picture (batch,).

    Returns:
        float32 (batch, height, width) of the feature map, from 0 to 1 at each picture's maximum. It is 0 where nothing
        speaks for the tag; where that is so everywhere, as it may be for a rare tag, where most speaks against it.

    Raises:
        InputError: the backend is not TensorFlow, whose gradients are used.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"heat maps need the TensorFlow backend. Received: KERAS_BACKEND={keras.backend.backend()}")
    import tensorflow as tf

    to_features, head, to_logit = parts(network)
    features = to_features(pixels, training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = of_tags(to_logit(head(features), training=False), tag)
    product = tape.gradient(logit, features) * features  # (batch, height, width, channels)
    heat = np.sum(product.numpy(), axis=-1)
    highest, lowest = heat.max(axis=(1, 2), keepdims=True), heat.min(axis=(1, 2), keepdims=True)
    heat = np.maximum(heat - np.where(highest > 0, 0, lowest), 0)
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)


def of_tags(logits, tag: int | np.ndarray):
    """Of logits (batch, tags) those of one tag, or of one for each picture: (batch,)."""
    import tensorflow as tf

    return tf.gather(logits, np.broadcast_to(tag, len(logits)), axis=1, batch_dims=1)


@functools.lru_cache(maxsize=4)
def parts(network: keras.Model) -> tuple[keras.Model, keras.layers.Layer, keras.Model]:
    """A network in three: pixels ▶ feature map, the head, embedding ▶ log-odds."""
    head = network.get_layer("features")
    return keras.Model(network.input, head.input), head, keras.Model(head.output, network.output["logit"])


def overlay(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    """A picture with its heat map over it.

    Args:
        pixels: uint8 (size, size, 3), the network's input.
        heat: float (height, width), 0 to 1.
    """
    picture = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS).convert("L").convert("RGB")
    mask = Image.fromarray((255 * STRENGTH * heat).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    picture.paste(Image.new("RGB", (SIDE, SIDE), (255, 60, 0)), mask=mask)
    return picture
