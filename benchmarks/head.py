"""Parameters, memory and the time of a training step against the number of tags, beside a head like that of 2021."""

import argparse

import keras
import numpy as np
from keras import layers

from benchmarks.measuring import report, side_by_side, use_xla
from heteroscedastic import HeteroscedasticSigmoid
from model import devices
from model.config import PRESETS, resolve
from model.memory import estimated_memory
from model.schedule import CycledSGD
from model.tagger import TaggerNetwork

MOST_PARAMETERS = 300_000_000  # of a head of 2021 that is timed; larger ones are only counted


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="default: tiny")
    parser.add_argument("--tags", type=int, nargs="+", default=[1024, 4096, 16384, 65536], help="default: 1k 4k 16k 64k")
    parser.add_argument("--batch-size", type=int, default=12, help="default: 12")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")


def measure(options: argparse.Namespace) -> None:
    """Time the whole network's step at each number of tags."""
    config = resolve({"preset": options.preset, "precision": devices.precision("auto")})
    devices.use_precision(config.precision)
    side = config.image_size
    pixels = np.zeros((options.batch_size, side, side, 3), np.uint8)
    steps, parameters, memory = {}, {}, {}
    for number in options.tags:
        network = TaggerNetwork(number, config.as_dict())
        network.compile(optimizer=CycledSGD(0.01, 0.9, global_clipnorm=1.0), jit_compile=use_xla())
        parameters[number], memory[number] = network.count_params(), estimated_memory(network, options.batch_size)
        labels = np.zeros((options.batch_size, number), np.float32)
        steps[number] = lambda network=network, labels=labels: network.train_on_batch(pixels, labels)
        features = network.get_layer("features").output
        width = features.shape[-1]
        output = network.count_params() - 2 * number * (width + 1)  # the rest of the network
        parameters["2021", number] = output + number * (width + 1) + 2 * number * (number + 1)
        if parameters["2021", number] < MOST_PARAMETERS:
            old = _with_head_of_2021(network.input, features, number)
            steps["2021", number] = lambda network=old, labels=labels: network.train_on_batch(pixels, {"logit": labels})
    seconds = side_by_side(steps, options.rounds)
    rows = []
    for number in options.tags:
        cells = (f"{memory[number] / 2**30:.2f}", *_cells(number, options.tags[0], parameters, seconds))
        rows.append([f"{number:,}", *cells, *_cells(("2021", number), ("2021", options.tags[0]), parameters, seconds)])
    print(f"{devices.name()}, {options.preset}, {side} px, batch {options.batch_size}")
    own = ["parameters", "a tag more", "ms/step", f"x {options.tags[0]:,}"]
    titles = ["tags", "GiB", *own, *(f"2021: {title}" for title in own)]
    figures = {str(key): {"seconds": seconds.get(key), "parameters": value} for key, value in parameters.items()}
    report("head", titles, rows, {"options": vars(options), "tags": figures})


def _cells(key, first, parameters: dict, seconds: dict[object, float]) -> list[str]:
    """Parameters, those of a tag more, milliseconds a step, and times those of the first."""
    tags, first_tags = (value[1] if isinstance(value, tuple) else value for value in (key, first))
    more = (parameters[key] - parameters[first]) / max(1, tags - first_tags)
    timed = [f"{1000 * seconds[key]:,.1f}", f"{seconds[key] / seconds[first]:.2f}"] if key in seconds else ["", ""]
    return [f"{parameters[key]:,}", f"{more:,.0f}" if key != first else "", *timed]


def _with_head_of_2021(image, features, tags: int) -> keras.Model:
    """The same trunk with a layer as wide as the tags before the output: quadratic in them."""
    hidden = layers.Dense(tags, activation="silu", dtype="float32")(features)
    network = keras.Model(image, HeteroscedasticSigmoid(tags, dtype="float32")(hidden))
    loss = {"logit": keras.losses.BinaryCrossentropy(from_logits=True)}
    network.compile(optimizer=CycledSGD(0.01, 0.9, global_clipnorm=1.0), loss=loss, jit_compile=use_xla())
    return network
