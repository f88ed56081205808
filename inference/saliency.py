"""Heat maps: how much each position of a picture adds to the logit of a tag.

Both global heads are sums over the positions of the feature map: of averaged features, and with `AttentionPooling` also of
attended values. What a position adds to the embedding, times the weights of a tag, is what it adds to the tag's logit (with
a noise layer: to its mean). `python -m benchmarks pointing` compares this with other heat maps on composites of four
pictures, where the maximum of the map has to lie on the picture that has the tag.
"""

import numpy as np
from PIL import Image

SIDE_PIXELS = 512  # side of the picture that `overlay` draws
MAX_OPACITY = 0.65  # opacity of the colour at the maximum of the map


def heat_map(network, pixels: np.ndarray, tag: int | np.ndarray) -> np.ndarray:
    """Return how much each position of a picture adds to the logit of a tag.

    Args:
        network: a `model.network.TaggerNetwork` or an `OnnxNetwork` that has a feature map.
        pixels: uint8 (batch, image_size, image_size, 3).
        tag: index of the tag, or one index for each picture (batch,).

    Returns:
        float32 (batch, height, width), at the resolution of the feature map, from 0 to 1 at each picture's maximum.
        Positions that lower the logit are 0. If all positions lower it, which happens for rare tags, values are measured
        from the position that lowers it most.
    """
    weights = network.tag_weights[:, np.broadcast_to(tag, len(pixels))]  # (channels, batch)
    heat = np.einsum("bhwc,cb->bhw", network.contributions(pixels), weights)
    highest, lowest = heat.max(axis=(1, 2), keepdims=True), heat.min(axis=(1, 2), keepdims=True)
    heat = np.maximum(heat - np.where(highest > 0, 0, lowest), 0)
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)


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
