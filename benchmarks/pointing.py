"""How often the maximum of a heat map lies on the part of the picture that has the tag, for several kinds of heat map.

    python -m benchmarks pointing --run runs/openmoji

It is the pointing game (Zhang et al., arXiv 1608.00507) on composites of four held-out pictures: a map is right if its
maximum lies in the one quarter that has the tag. Chance is 0.25. Result: pointing.json.
"""

import argparse
import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks.reporting import Table, as_json, report
from inference.export import formats
from inference.saliency import heat_map
from inference.tagger import Tagger

BATCH = 100
Maps = np.ndarray  # (batch, height, width)


def attention(network: keras.Model, pixels: np.ndarray, tags: np.ndarray) -> Maps:
    """Return the attention weights, averaged over the attention heads; they are the same for every tag."""
    to_features, head, _ = _split(network)
    features = to_features(pixels, training=False)
    weights, _ = head.attend(features)  # (batch, heads, positions)
    return keras.ops.convert_to_numpy(weights).mean(axis=1).reshape(features.shape[:3])


def gradient_times_activation(network: keras.Model, pixels: np.ndarray, tags: np.ndarray) -> Maps:
    """Return the gradient of the logit at each value of the feature map, times the value, summed over channels."""
    features, gradient = _gradient(network, pixels, tags)
    return np.sum((gradient * features).numpy(), axis=-1)


def grad_cam(network: keras.Model, pixels: np.ndarray, tags: np.ndarray) -> Maps:
    """Return Grad-CAM (Selvaraju et al., arXiv 1610.02391): channels weighted by their mean gradient. The negative parts,
    which the paper sets to 0, stay: a map without positive parts has a maximum too."""
    features, gradient = _gradient(network, pixels, tags)
    weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    return np.sum((weights * features).numpy(), axis=-1)


def saliency(network: keras.Model, pixels: np.ndarray, tags: np.ndarray) -> Maps:
    """Return the size of the gradient at each pixel (Simonyan et al., arXiv 1312.6034), averaged over squares of 9 by 9."""
    values = network.get_layer("rescale")(pixels)
    with tf.GradientTape() as tape:
        tape.watch(values)
        logit = tf.gather(_after_rescaling(network)(values, training=False), tags, axis=1, batch_dims=1)
    gradient = tf.reduce_sum(tf.abs(tape.gradient(logit, values)), axis=-1, keepdims=True)
    return tf.nn.avg_pool2d(gradient, 9, 1, "SAME").numpy()[..., 0]


METHODS = {
    "contributions": heat_map,
    "gradient × activation": gradient_times_activation,
    "Grad-CAM": grad_cam,
    "saliency": saliency,
    "attention": attention,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the run, the data folder and the number of composites."""
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--data", type=Path, help="default: the data folder of the run")
    parser.add_argument("--composites", type=int, default=500, help="composites (default: 500)")


def measure(options: argparse.Namespace) -> None:
    """Print the share of right answers of each method."""
    tagger = Tagger.open(options.run)
    _, pixels, labels = formats.read_pictures(tagger, options.data or Path(tagger.run.data), 4096)
    figures = compare(tagger.network, pixels, labels, tagger.thresholds, options.composites)
    figures = {"options": as_json(options)} | figures
    print(f"{figures['composites']} composites; in {figures['predicted']} of them the network gives the tag. Chance: 0.25")
    report("pointing", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each method."""
    rows = [[name, *(f"{share:.3f}" for share in shares)] for name, shares in figures["right"].items()]
    return Table(["heat map", "right, all", "right, where the tag is predicted"], rows)


def compare(network: keras.Model, pixels: np.ndarray, labels: np.ndarray, thresholds: np.ndarray, number: int) -> dict:
    """Play the game with each method.

    Args:
        network: network of the run.
        pixels: uint8 (pictures, size, size, 3), held out.
        labels: bool (pictures, tags).
        thresholds: (tags,).
        number: number of composites.

    Returns:
        `composites`, their number; `predicted`, in how many of them the network gives the tag; `right`, method ▶ the share
        of right answers over all composites, and over those where the network gives the tag.
    """
    composites, tags, quarters = _composites(pixels, labels, number)
    predicted: list[bool] = []
    right: dict[str, list[bool]] = {name: [] for name in METHODS}
    for start in range(0, number, BATCH):
        batch, batch_tags, answers = (values[start : start + BATCH] for values in (composites, tags, quarters))
        probability = keras.ops.convert_to_numpy(network(batch, training=False)["probability"])
        predicted += (probability[np.arange(len(batch)), batch_tags] >= thresholds[batch_tags]).tolist()
        for name, method in METHODS.items():
            right[name] += (_quarters_of_maxima(method(network, batch, batch_tags)) == answers).tolist()
    is_predicted = np.array(predicted)
    shares = {
        name: [float(np.mean(answers)), float(np.mean(np.array(answers)[is_predicted]))] for name, answers in right.items()
    }
    return {"composites": number, "predicted": int(is_predicted.sum()), "right": shares}


def _composites(pixels: np.ndarray, labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return composites of four pictures, uint8 (number, size, size, 3), a tag that one of the four has, and its quarter."""
    random = np.random.default_rng(0)
    half = pixels.shape[1] // 2
    small = np.stack([np.asarray(Image.fromarray(picture).resize((half, half))) for picture in pixels])
    composites: list[np.ndarray] = []
    tags: list[int] = []
    quarters: list[int] = []
    while len(tags) < number:
        four = random.integers(len(small), size=4)
        candidates = np.flatnonzero(labels[four].sum(axis=0) == 1)  # tags of exactly one of the four
        if not len(candidates):
            continue
        tags.append(random.choice(candidates))
        quarters.append(int(np.argmax(labels[four, tags[-1]])))
        rows = [np.concatenate([small[a], small[b]], axis=1) for a, b in (four[:2], four[2:])]
        composites.append(np.concatenate(rows))
    return np.stack(composites), np.array(tags), np.array(quarters)


def _gradient(network: keras.Model, pixels: np.ndarray, tags: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the feature map and the gradient of the tags' logits at it, (batch, height, width, channels) both."""
    to_features, head, to_logit = _split(network)
    features = to_features(pixels, training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = tf.gather(to_logit(head(features), training=False), tags, axis=1, batch_dims=1)
    return features, tape.gradient(logit, features)


@functools.lru_cache(maxsize=4)
def _split(network: keras.Model) -> tuple[keras.Model, keras.layers.Layer, keras.Model]:
    """Return three parts of a network: pixels ▶ feature map, the pooling head, embedding ▶ logits."""
    head = network.get_layer("features")
    return keras.Model(network.input, head.input), head, keras.Model(head.output, network.output["logit"])


@functools.lru_cache(maxsize=4)
def _after_rescaling(network: keras.Model) -> keras.Model:
    return keras.Model(network.get_layer("rescale").output, network.output["logit"])


def _quarters_of_maxima(heat: Maps) -> np.ndarray:
    height, width = heat.shape[1:]
    y, x = np.unravel_index(heat.reshape(len(heat), -1).argmax(axis=1), (height, width))
    return 2 * (y >= height / 2) + (x >= width / 2)
