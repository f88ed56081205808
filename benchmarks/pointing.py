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
from model.heat import heat_map, of_tags, parts
from model.predict import Tagger

BATCH = 100
Maps = np.ndarray  # (batch, height, width)


def attention(network: keras.Model, pixels: np.ndarray, tags: np.ndarray) -> Maps:
    """The head's attention, averaged over its heads: the same for every tag."""
    to_features, head, _ = parts(network)
    _, weights = head.attend(to_features(pixels, training=False))
    return keras.ops.convert_to_numpy(weights).mean(axis=1)


def grad_cam(network: keras.Model, pixels: np.ndarray, tags: np.ndarray) -> Maps:
    """Grad-CAM (Selvaraju et al., arXiv 1610.02391): channels weighted by their mean gradient. Its negative parts, which it
    cuts off, are left: a map without any others has a maximum too."""
    to_features, head, to_logit = parts(network)
    features = to_features(pixels, training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = of_tags(to_logit(head(features), training=False), tags)
    weights = tf.reduce_mean(tape.gradient(logit, features), axis=(1, 2), keepdims=True)
    return np.sum((weights * features).numpy(), axis=-1)


def saliency(network: keras.Model, pixels: np.ndarray, tags: np.ndarray) -> Maps:
    """The size of the gradient at each pixel (Simonyan et al., arXiv 1312.6034), averaged over squares of 9 pixels."""
    values = network.get_layer("rescale")(pixels)
    with tf.GradientTape() as tape:
        tape.watch(values)
        logit = of_tags(_after_rescaling(network)(values, training=False), tags)
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
    composites, tags, quarters = _composites(pixels, labels, number)
    given: list[bool] = []
    right: dict[str, list[bool]] = {name: [] for name in METHODS}
    for start in range(0, number, BATCH):
        batch, of_batch, answers = (values[start : start + BATCH] for values in (composites, tags, quarters))
        probability = keras.ops.convert_to_numpy(network(batch, training=False)["probability"])
        given += (probability[np.arange(len(batch)), of_batch] >= thresholds[of_batch]).tolist()
        for name, method in METHODS.items():
            right[name] += (_quarters_of_maxima(method(network, batch, of_batch)) == answers).tolist()
    seen = np.array(given)
    shares = {name: (np.mean(answers), np.mean(np.array(answers)[seen])) for name, answers in right.items()}
    return shares | {"count": (len(seen), int(seen.sum()))}


def _composites(pixels: np.ndarray, labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four pictures put together, and a tag that one of them has: uint8 (number, size, size, 3), tags, quarters."""
    random = np.random.default_rng(0)
    half = pixels.shape[1] // 2
    small = np.stack([np.asarray(Image.fromarray(picture).resize((half, half))) for picture in pixels])
    composites, tags, quarters = [], [], []
    while len(tags) < number:
        four = random.integers(len(small), size=4)
        candidates = np.flatnonzero(labels[four].sum(axis=0) == 1)  # in one of the four only
        if not len(candidates):
            continue
        tags.append(random.choice(candidates))
        quarters.append(np.argmax(labels[four, tags[-1]]))
        rows = [np.concatenate([small[a], small[b]], axis=1) for a, b in (four[:2], four[2:])]
        composites.append(np.concatenate(rows))
    return np.stack(composites), np.array(tags), np.array(quarters)


@functools.lru_cache(maxsize=4)
def _after_rescaling(network: keras.Model) -> keras.Model:
    return keras.Model(network.get_layer("rescale").output, network.output["logit"])


def _quarters_of_maxima(heat: Maps) -> np.ndarray:
    height, width = heat.shape[1:]
    y, x = np.unravel_index(heat.reshape(len(heat), -1).argmax(axis=1), (height, width))
    return 2 * (y >= height / 2) + (x >= width / 2)
