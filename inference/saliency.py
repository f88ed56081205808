"""Heat maps: how much each position of a picture raises the logit of a tag.

The method is gradient times activation on the feature map that the head reads. `python -m benchmarks pointing` compares it
with others on composites of four pictures, where the maximum of the map has to lie on the picture that has the tag. This
method is right most often. The weights of the attention are hardly better than chance, because they serve all tags at once.
"""

import functools

import keras
import numpy as np
from PIL import Image

from common.errors import InputError

SIDE_PIXELS = 512  # side of the picture that `overlay` draws
MAX_OPACITY = 0.65  # opacity of the colour at the maximum of the map


def heat_map(network: keras.Model, pixels: np.ndarray, tag: int | np.ndarray) -> np.ndarray:
    """Return how much each position of a picture raises the logit of a tag.

    Args:
        network: a `model.network.TaggerNetwork`.
        pixels: uint8 (batch, image_size, image_size, 3).
        tag: index of the tag, or one index for each picture (batch,).

    Returns:
        float32 (batch, height, width), at the resolution of the feature map, from 0 to 1 at each picture's maximum.
        Positions that lower the logit are 0. If all positions lower it, which happens for rare tags, values are measured
        from the position that lowers it most.

    Raises:
        InputError: the backend is not TensorFlow, whose gradients are used.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"heat maps need the TensorFlow backend. Received: KERAS_BACKEND={keras.backend.backend()}")
    import tensorflow as tf

    to_features, head, to_logit = split_network(network)
    features = to_features(pixels, training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = gather_tag_logits(to_logit(head(features), training=False), tag)
    product = tape.gradient(logit, features) * features  # (batch, height, width, channels)
    heat = np.sum(product.numpy(), axis=-1)
    highest, lowest = heat.max(axis=(1, 2), keepdims=True), heat.min(axis=(1, 2), keepdims=True)
    heat = np.maximum(heat - np.where(highest > 0, 0, lowest), 0)
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)


def gather_tag_logits(logits, tag: int | np.ndarray):
    """Return the logits (batch,) of one tag, or of one tag for each picture, from logits (batch, tags)."""
    import tensorflow as tf

    return tf.gather(logits, np.broadcast_to(tag, len(logits)), axis=1, batch_dims=1)


@functools.lru_cache(maxsize=4)
def split_network(network: keras.Model) -> tuple[keras.Model, keras.layers.Layer, keras.Model]:
    """Return three parts of a network: pixels ▶ feature map, the pooling head, embedding ▶ logits."""
    head = network.get_layer("features")
    return keras.Model(network.input, head.input), head, keras.Model(head.output, network.output["logit"])


def overlay(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    """Return a picture in grey with its heat map over it in red.

    Args:
        pixels: uint8 (image_size, image_size, 3), the input of the network.
        heat: float (height, width), 0 to 1.
    """
    size = (SIDE_PIXELS, SIDE_PIXELS)
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).convert("L").convert("RGB")
    mask = Image.fromarray((255 * MAX_OPACITY * heat).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    picture.paste(Image.new("RGB", size, (255, 60, 0)), mask=mask)
    return picture
