"""Parameters and the time of a training step against the number of tags."""

import argparse

import numpy as np

from benchmarks.measuring import report, side_by_side, use_xla
from model import devices
from model.config import PRESETS, resolve
from model.schedule import CycledSGD
from model.tagger import TaggerNetwork


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
    steps, parameters = {}, {}
    for number in options.tags:
        network = TaggerNetwork(number, config.as_dict())
        network.compile(optimizer=CycledSGD(0.01, 0.9, global_clipnorm=1.0), jit_compile=use_xla())
        labels = np.zeros((options.batch_size, number), np.float32)
        steps[number] = lambda network=network, labels=labels: network.train_on_batch(pixels, labels)
        parameters[number] = network.count_params()
    seconds = side_by_side(steps, options.rounds)
    first = options.tags[0]
    rows = []
    for number, value in seconds.items():
        more = (number - first) or 1
        cells = (
            f"{parameters[number]:,}",
            f"{1000 * value:,.1f}",
            f"{value / seconds[first]:.2f}",
            f"{(parameters[number] - parameters[first]) / more:,.0f}",
            f"{1e6 * (value - seconds[first]) / more:.2f}",
        )
        rows.append([f"{number:,}", *cells])
    print(f"{devices.name()}, {options.preset}, {side} px, batch {options.batch_size}")
    titles = ["tags", "parameters", "ms/step", f"x {first:,} tags", "parameters/tag more", "µs/tag more"]
    figures = {str(number): {"seconds": value, "parameters": parameters[number]} for number, value in seconds.items()}
    report("head", titles, rows, {"options": vars(options), "tags": figures})
