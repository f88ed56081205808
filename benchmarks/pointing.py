"""Which way of drawing a heat map points at the right place.

The pointing game (Zhang et al., arXiv 1608.00507) on pictures put together from four held-out ones: a map is right if its
maximum lies in the one quarter that has the tag. Chance is 0.25.
"""

import argparse
import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from model import export
from model.heat import heat_map, parts
from model.predict import Tagger

Maps = np.ndarray  # (1, height, width)


def attention(network: keras.Model, pixels: np.ndarray, tag: int) -> Maps:
    """The head's attention, averaged over its heads: the same for every tag."""
    to_features, head, _ = parts(network)
    _, weights = head.attend(to_features(pixels, training=False))
    return keras.ops.convert_to_numpy(weights).mean(axis=1)


def grad_cam(network: keras.Model, pixels: np.ndarray, tag: int) -> Maps:
    """Grad-CAM (Selvaraju et al., arXiv 1610.02391): channels weighted by their mean gradient."""
    to_features, head, to_logit = parts(network)
    features = to_features(pixels, training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = to_logit(head(features), training=False)[:, tag]
    weights = tf.reduce_mean(tape.gradient(logit, features), axis=(1, 2), keepdims=True)
    return np.maximum(np.sum((weights * features).numpy(), axis=-1), 0)


def saliency(network: keras.Model, pixels: np.ndarray, tag: int) -> Maps:
    """The size of the gradient at each pixel (Simonyan et al., arXiv 1312.6034), averaged over squares of 9 pixels."""
    values = network.get_layer("rescale")(pixels)
    with tf.GradientTape() as tape:
        tape.watch(values)
        logit = _after_rescaling(network)(values, training=False)[:, tag]
    gradient = tf.reduce_sum(tf.abs(tape.gradient(logit, values)), axis=-1, keepdims=True)
    return tf.nn.avg_pool2d(gradient, 9, 1, "SAME").numpy()[..., 0]


METHODS = {
    "gradient × activation": heat_map,
    "Grad-CAM": grad_cam,
    "saliency": saliency,
    "attention": attention,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The run, and how many composites."""
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--data", type=Path, help="default: what the run was trained on")
    parser.add_argument("--composites", type=int, default=500, help="default: 500")


def measure(options: argparse.Namespace) -> None:
    """Print each method's share of right answers."""
    tagger = Tagger.load(options.run)
    pixels, labels = export.check_pictures(tagger, options.data or Path(tagger.run.data), 4096)
    shares = compare(tagger.network, pixels, labels, tagger.thresholds, options.composites)
    composites, seen = shares.pop("count")
    print(f"four pictures put together, {composites} times; in {seen} of them the network gives the tag. Chance: 0.25")
    print(f"{'':<24}{'all':>8}{'given':>8}")
    for name, (everywhere, where_given) in shares.items():
        print(f"{name:<24}{everywhere:>8.3f}{where_given:>8.3f}")


def compare(network: keras.Model, pixels: np.ndarray, labels: np.ndarray, thresholds: np.ndarray, number: int) -> dict:
    """Play the game with each method.

    Args:
        network: the run's.
        pixels: uint8 (pictures, size, size, 3), held out.
        labels: bool (pictures, tags).
        thresholds: (tags,).
        number: composites.

    Returns:
        Method ▶ share of right answers over all composites, and over those where the network gives the tag; under `count`
        the number of both.
    """
    random = np.random.default_rng(0)
    half = pixels.shape[1] // 2
    small = np.stack([np.asarray(Image.fromarray(picture).resize((half, half))) for picture in pixels])
    right: dict[str, list[bool]] = {name: [] for name in METHODS}
    given: list[bool] = []
    while len(given) < number:
        four = random.integers(len(small), size=4)
        tags = np.flatnonzero(labels[four].sum(axis=0) == 1)  # in one of the four only
        if not len(tags):
            continue
        tag = random.choice(tags)
        quarter = int(np.argmax(labels[four, tag]))
        rows = [np.concatenate([small[a], small[b]], axis=1) for a, b in (four[:2], four[2:])]
        composite = np.concatenate(rows)[None]
        probability = keras.ops.convert_to_numpy(network(composite, training=False)["probability"])
        given.append(bool(probability[0, tag] >= thresholds[tag]))
        for name, method in METHODS.items():
            right[name].append(_quarter_of_maximum(method(network, composite, tag)[0]) == quarter)
    seen = np.array(given)
    shares = {name: (np.mean(answers), np.mean(np.array(answers)[seen])) for name, answers in right.items()}
    return shares | {"count": (len(seen), int(seen.sum()))}


@functools.lru_cache(maxsize=4)
def _after_rescaling(network: keras.Model) -> keras.Model:
    return keras.Model(network.get_layer("rescale").output, network.output["logit"])


def _quarter_of_maximum(heat: np.ndarray) -> int:
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    return 2 * int(y >= heat.shape[0] / 2) + int(x >= heat.shape[1] / 2)
